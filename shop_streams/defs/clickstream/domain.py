"""The domain clickstream: what shoppers look at and order, per item and half hour."""

from __future__ import annotations

from shop_streams.defs.clickstream.marts import MART
from shop_streams.defs.clickstream.streams import INGEST
from shop_streams.domain import Domain

DOMAIN = Domain("clickstream", owners=("team:clickstream",), streams=(INGEST,), marts=(MART,))

definitions = DOMAIN.definitions()
