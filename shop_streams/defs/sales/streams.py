"""The streams of sales: the ingest to Delta, and the hourly metrics from topic to topic."""

from __future__ import annotations

from pyspark.sql import DataFrame

from shop_streams.defs.sales import aggregate, transforms
from shop_streams.defs.sales.partitions import days
from shop_streams.defs.sales.rebuild import HourlyRecovery
from shop_streams.defs.sales.schema import HOURLY_TOPIC, SHOP_EVENTS, SHOP_EVENTS_TOPIC
from shop_streams.streaming.spec import StreamContext, lake_stream, topic_stream


def hourly(records: DataFrame, context: StreamContext) -> DataFrame:
    """The same aggregation as the `aggregate` command. The checkpoint metadata fixes its windows."""
    settings = context.settings
    sums_as = aggregate.sums_of(context.spark, context.checkpoint)
    offset = aggregate.window_offset(
        context.spark, settings.kafka, context.topic, settings.sales_window_anchor, context.checkpoint,
        settings.first_day.isoformat(),
    )  # fmt: skip
    base = aggregate.base_of(context.spark, context.checkpoint)
    return aggregate.aggregation(records, offset, settings.first_day.isoformat(), sums_as, base)


INGEST = lake_stream(
    name="shop_events_ingest",
    topic=SHOP_EVENTS_TOPIC,
    table=SHOP_EVENTS,
    validate=transforms.validate,
    project=transforms.project,
    partitions=days,
)

HOURLY = topic_stream(
    name="hourly_metrics",
    domain="sales",
    topic=SHOP_EVENTS_TOPIC,
    output=HOURLY_TOPIC,
    transform=hourly,
    recovery=HourlyRecovery(INGEST),
    interval_seconds=lambda _settings: 5,
    fixed_settings=lambda settings: {
        "state_partitions": str(settings.state_partitions),
        "sales_window_anchor": settings.sales_window_anchor,
    },
)
