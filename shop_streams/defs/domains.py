"""The streams of all domains, for what concerns each of them."""

from __future__ import annotations

from shop_streams.defs.app_events.streams import INGEST as APP_EVENTS_INGEST
from shop_streams.defs.promotions.streams import STREAM as PROMOTION_NOTIFICATIONS
from shop_streams.defs.sales.streams import HOURLY as HOURLY_METRICS
from shop_streams.defs.sales.streams import INGEST as SHOP_EVENTS_INGEST

LAKE_STREAMS = (APP_EVENTS_INGEST, SHOP_EVENTS_INGEST, PROMOTION_NOTIFICATIONS)
STREAMS = (APP_EVENTS_INGEST, SHOP_EVENTS_INGEST, HOURLY_METRICS, PROMOTION_NOTIFICATIONS)
