"""The domain sales: hourly revenue, visitors, purchases and average order value."""

from __future__ import annotations

from shop_streams.defs.sales.marts import MART, window_offset
from shop_streams.defs.sales.schema import SHOP_EVENTS, SHOP_EVENTS_TOPIC
from shop_streams.defs.sales.streams import HOURLY, INGEST
from shop_streams.domain import Domain
from shop_streams.streaming.persons import EventHour, PersonColumns, Persons, fields

DOMAIN = Domain(
    "sales",
    owners=("team:sales-analytics",),
    streams=(INGEST, HOURLY),
    marts=(MART,),
    persons=Persons(
        lake=(PersonColumns(SHOP_EVENTS, ("uid",)),),
        topics=(SHOP_EVENTS_TOPIC,),
        in_letter=fields("uid"),
        event_hour=EventHour("event_time", window_offset),
        more_copies=("the sums of topic hourly_metrics, which still count the events of this visitor, without the id",),
    ),
)

definitions = DOMAIN.definitions()
