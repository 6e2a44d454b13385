"""See the map in shop_streams/defs/__init__.py."""
