"""The domain sales: hourly revenue, visitors, purchases and average order value."""

from __future__ import annotations

from shop_streams.defs.sales.marts import MART
from shop_streams.defs.sales.streams import HOURLY, INGEST
from shop_streams.domain import Domain

DOMAIN = Domain("sales", owners=("team:sales-analytics",), streams=(INGEST, HOURLY), marts=(MART,))

definitions = DOMAIN.definitions()
