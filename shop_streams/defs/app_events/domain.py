"""The domain app_events: product events that the collector tracked, enriched every 3 hours."""

from __future__ import annotations

from shop_streams.defs.app_events.marts import MART
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS, EVENTS_TOPIC
from shop_streams.defs.app_events.streams import INGEST
from shop_streams.domain import Domain
from shop_streams.streaming.persons import PersonColumns, Persons, fields

DOMAIN = Domain(
    "app_events",
    owners=("team:product-analytics",),
    streams=(INGEST,),
    marts=(MART,),
    persons=Persons(
        lake=(PersonColumns(EVENTS, ("user_id",)), PersonColumns(ENRICHED, ("user_id",))),
        topics=(EVENTS_TOPIC,),
        in_letter=fields("user_id"),
    ),
)

definitions = DOMAIN.definitions()
