"""HTTP out (`python -m shop_streams.api`). Its health, and the state of each stream."""
