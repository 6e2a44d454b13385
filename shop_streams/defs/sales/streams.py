"""The streams of sales: the ingest to Delta, and the hourly metrics from topic to topic."""

from __future__ import annotations

import dagster as dg
from pyspark.sql import DataFrame

from shop_streams import topics
from shop_streams.defs.partitions import sales_days
from shop_streams.defs.sales import aggregate, transforms
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.lake.asset import asset_key
from shop_streams.streaming.factory import build_stream, topic_asset, topic_key
from shop_streams.streaming.sinks import LakeSink, TopicSink
from shop_streams.streaming.spec import StreamContext, StreamSpec


def hourly(records: DataFrame, context: StreamContext) -> DataFrame:
    """The same aggregation as the `aggregate` command, its windows fixed by the checkpoint's notes."""
    settings = context.settings
    sums_as = aggregate.sums_of(context.spark, context.checkpoint)
    offset = aggregate.window_offset(
        context.spark, settings.kafka, context.topic, settings.sales_window_anchor, context.checkpoint,
        settings.first_day.isoformat(),
    )  # fmt: skip
    return aggregate.aggregation(records, offset, settings.first_day.isoformat(), sums_as)


INGEST = StreamSpec(
    name="shop_events_ingest",
    domain="sales",
    topic=topics.SHOP_EVENTS,
    sink=LakeSink(SHOP_EVENTS, "sales", transforms.judge, transforms.rows),
    output=asset_key(SHOP_EVENTS),
    description=SHOP_EVENTS.rows_are,
    interval_seconds=lambda settings: settings.ingest_interval_seconds,
)

HOURLY = StreamSpec(
    name="hourly_metrics",
    domain="sales",
    topic=topics.SHOP_EVENTS,
    sink=TopicSink(topics.HOURLY_METRICS.name, hourly),
    output=topic_key(topics.HOURLY_METRICS),
    description=topics.HOURLY_METRICS.description,
    interval_seconds=lambda _settings: 5,
    pinned=lambda settings: {
        "state_partitions": str(settings.state_partitions),
        "sales_window_anchor": settings.sales_window_anchor,
    },
)

definitions = dg.Definitions.merge(
    dg.Definitions(assets=[topic_asset(topics.SHOP_EVENTS, "sales")]),
    build_stream(INGEST, sales_days),
    build_stream(HOURLY),
)
