"""The domain app_events: product events that the collector tracked, enriched every 3 hours."""

from __future__ import annotations

from shop_streams.defs.app_events.marts import MART
from shop_streams.defs.app_events.streams import INGEST
from shop_streams.domain import Domain

DOMAIN = Domain("app_events", owners=("team:product-analytics",), streams=(INGEST,), marts=(MART,))

definitions = DOMAIN.definitions()
