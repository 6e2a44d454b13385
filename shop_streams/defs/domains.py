"""The domains of the shop. A new domain is added here; all its other code is in its folder."""

from __future__ import annotations

from shop_streams.defs.app_events.domain import DOMAIN as APP_EVENTS
from shop_streams.defs.clickstream.domain import DOMAIN as CLICKSTREAM
from shop_streams.defs.community.domain import DOMAIN as COMMUNITY
from shop_streams.defs.promotions.domain import DOMAIN as PROMOTIONS
from shop_streams.defs.sales.domain import DOMAIN as SALES

DOMAINS = (APP_EVENTS, SALES, PROMOTIONS, CLICKSTREAM, COMMUNITY)

STREAMS = tuple(stream for domain in DOMAINS for stream in domain.streams)
LAKE_STREAMS = tuple(stream for domain in DOMAINS for stream in domain.lake_streams)
TOPICS = tuple(topic for domain in DOMAINS for topic in domain.topics)
ENCODINGS = {topic.name: topic.encoding for topic in TOPICS}
TABLES = tuple(table for domain in DOMAINS for table in domain.tables)
