"""The domain clickstream: what shoppers look at and order, per item and half hour."""

from __future__ import annotations

from shop_streams.defs.clickstream.marts import MART
from shop_streams.defs.clickstream.schema import CLICKS, CLICKS_TOPIC
from shop_streams.defs.clickstream.streams import INGEST
from shop_streams.domain import Domain
from shop_streams.streaming.persons import PersonColumns, Persons

DOMAIN = Domain(
    "clickstream",
    owners=("team:clickstream",),
    streams=(INGEST,),
    marts=(MART,),
    persons=Persons(
        lake=(PersonColumns(CLICKS, ("party_id",)),),
        topics=(CLICKS_TOPIC,),
        in_letter=lambda _click, key: [key],
    ),
)

definitions = DOMAIN.definitions()
