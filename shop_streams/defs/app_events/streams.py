"""The stream of app_events: topic `events` to Delta."""

from __future__ import annotations

from shop_streams.defs.app_events import transforms
from shop_streams.defs.app_events.partitions import days
from shop_streams.defs.app_events.schema import EVENTS, EVENTS_TOPIC
from shop_streams.streaming.spec import lake_stream

INGEST = lake_stream(
    name="app_events_ingest",
    topic=EVENTS_TOPIC,
    table=EVENTS,
    validate=transforms.validate,
    project=transforms.project,
    partitions=days,
)
