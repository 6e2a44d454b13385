"""The stream of app_events: topic `events` to Delta."""

from __future__ import annotations

import dagster as dg

from shop_streams import topics
from shop_streams.defs.app_events.schema import EVENTS
from shop_streams.defs.app_events.transforms import judge, rows
from shop_streams.defs.partitions import app_events_days
from shop_streams.lake.asset import asset_key
from shop_streams.streaming.factory import build_stream, topic_asset
from shop_streams.streaming.sinks import LakeSink
from shop_streams.streaming.spec import StreamSpec

INGEST = StreamSpec(
    name="app_events_ingest",
    domain="app_events",
    topic=topics.EVENTS,
    sink=LakeSink(EVENTS, "app_events", judge, rows),
    output=asset_key(EVENTS),
    description=EVENTS.rows_are,
    interval_seconds=lambda settings: settings.ingest_interval_seconds,
)

definitions = dg.Definitions.merge(
    dg.Definitions(assets=[topic_asset(topics.EVENTS, "app_events")]),
    build_stream(INGEST, app_events_days),
)
