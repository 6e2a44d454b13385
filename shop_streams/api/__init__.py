"""HTTP out (`python -m shop_streams.api`). At present its health and the lake's tables; domains add their own routes."""
