"""Pure transforms of sales. The managed stream, the `aggregate` command and the mart call the same functions.

Needs pyspark, pyarrow and msgspec: plain `spark-submit` runs it too.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from shop_streams.defs.sales.rules import SHOP_EVENT
from shop_streams.marts.earlier import may_repeat
from shop_streams.streaming.records import RECORD_COLUMNS, validate_records

HOUR = 3600
REASONS_SHOWN = 20
EXACT = "decimal(13,0)"  # a price; Spark sums it as decimal(23,0), enough for almost 10^11 of the largest prices
EXACT_OF_ANY = "decimal(19,0)"  # an earlier version accepted prices up to 2^63, and the table may hold some


def validate(records: DataFrame, first_day: str, keep: Sequence[str] = RECORD_COLUMNS) -> DataFrame:
    """Records of `shop_events` with `event`, or `reason` for those that break a rule."""
    return validate_records(records, SHOP_EVENT, first_day, keep)


def project(validated: DataFrame) -> DataFrame:
    """Columns of the table `sales/shop_events` but the hash."""
    time = F.timestamp_millis("event.timestamp")
    return validated.select(
        "event.event_type",
        "event.category",
        "event.item_id",
        "event.item_price",
        "event.uid",
        time.alias("event_time"),
        F.to_date(time).alias("event_date"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        "event.event_id",
    )


def good_events(validated: DataFrame) -> DataFrame:
    """The valid events: event_type, item_price, uid, event_time.

    The numbers of records and of refused ones, and the most frequent reasons as JSON, are observed metrics of the
    query.
    """
    reasons = F.expr(f"to_json(approx_top_k(reason, {REASONS_SHOWN + 1}))")  # one more: null, for good records
    observed = validated.observe(
        "validated", F.count(F.lit(1)).alias("records"), F.count("reason").alias("refused"), reasons.alias("reasons")
    )
    return observed.where("reason is null").select(
        "event.event_type",
        "event.item_price",
        "event.uid",
        F.timestamp_millis("event.timestamp").alias("event_time"),
    )


def hour_start(event_time: Column, offset_seconds: int) -> Column:
    """Epoch seconds of the beginning of the hour-long window; windows begin `offset_seconds` after the clock hour."""
    seconds = F.unix_seconds(event_time)
    return seconds - F.pmod(seconds - F.lit(offset_seconds), F.lit(HOUR))


def hourly_metrics(events: DataFrame, offset_seconds: int = 0, *extra: Column, sums_as: str = EXACT) -> DataFrame:
    """One row for each hour that has an event: start_ts, end_ts, revenue, visitors, purchases, aov, and `extra`.

    No watermark: a late event changes its hour however old it is, and the state is one small row an hour.
    `sums_as` is `EXACT`, or `bigint` for the state of an earlier version.
    """
    is_buy = F.col("event_type") == "buy"
    start = hour_start(F.col("event_time"), offset_seconds).alias("start_ts")
    total = F.sum(F.when(is_buy, F.col("item_price")).cast(sums_as))
    return (
        events.groupBy(start)
        .agg(
            F.coalesce(total, F.lit(0)).cast("decimal(38,0)").alias("revenue"),
            F.count("uid").alias("visitors"),
            F.count(F.when(is_buy, 1)).alias("purchases"),
            *extra,
        )
        .withColumn("end_ts", F.col("start_ts") + HOUR)
        .withColumn("aov", average_order())
    )


def average_order() -> Column:
    """Revenue per purchase; null without a purchase."""
    return F.try_divide(F.col("revenue").cast("double"), F.col("purchases").cast("double"))


BASE_SCHEMA = "start_ts bigint, revenue decimal(38,0), visitors bigint, purchases bigint"


def with_base(metrics: DataFrame, base: DataFrame) -> DataFrame:
    """The hours of `metrics` with the sums of the same hours in `base` added: start_ts, revenue, visitors, purchases."""
    names = ("revenue", "visitors", "purchases")
    earlier = base.select(F.col("start_ts"), *[F.col(name).alias(f"_{name}") for name in names])
    sums = {name: F.col(name) + F.coalesce(F.col(f"_{name}"), F.lit(0)) for name in names}
    joined = metrics.drop("aov").join(F.broadcast(earlier), "start_ts", "left")
    totals = joined.withColumns(sums | {"revenue": sums["revenue"].cast("decimal(38,0)")})
    return totals.drop(*[f"_{name}" for name in names]).withColumn("aov", average_order())


def with_repeats(events: DataFrame, earlier: DataFrame) -> DataFrame:
    """Add `repeated`: whether the same event_id came before, in `events` or in `earlier` (older events)."""
    origin = F.concat_ws(":", "kafka_partition", "kafka_offset")  # an event without an event_id is no repeat
    order = Window.partitionBy(F.coalesce("event_id", origin)).orderBy("event_time", "kafka_partition", "kafka_offset")
    known = may_repeat(earlier.select("event_id"), events, "event_id").distinct().withColumn("_known", F.lit(True))
    return (
        events.withColumn("_nth", F.row_number().over(order))
        .join(known, "event_id", "left")
        .withColumn("repeated", (F.col("_nth") > 1) | F.col("_known").isNotNull())
        .drop("_nth", "_known")
    )


def hourly_once(events: DataFrame, offset_seconds: int = 0) -> DataFrame:
    """`hourly_metrics` and `unique_visitors` without the repeats, and columns with the repeats. `events` must have `repeated`."""
    repeated = F.col("repeated")
    again_buy = repeated & (F.col("kind") == "buy")
    counted = events.select(
        "event_time",
        "item_price",
        "repeated",
        F.when(~repeated, F.col("event_type")).alias("event_type"),
        F.when(~repeated, F.col("uid")).alias("uid"),
        F.col("event_type").alias("kind"),
        F.col("uid").alias("visitor"),
    )
    return hourly_metrics(
        counted,
        offset_seconds,
        F.count_distinct("uid").alias("unique_visitors"),
        F.count(F.when(repeated, 1)).alias("repeats"),
        F.coalesce(F.sum(F.when(again_buy, F.col("item_price")).cast(EXACT_OF_ANY)), F.lit(0))
        .cast("decimal(38,0)")
        .alias("repeats_revenue"),
        F.count(F.when(repeated, F.col("visitor"))).alias("repeats_visitors"),
        F.count(F.when(again_buy, 1)).alias("repeats_purchases"),
        sums_as=EXACT_OF_ANY,
    )


def as_records(metrics: DataFrame) -> DataFrame:
    """Kafka records of hourly metrics: key = start_ts, value = the JSON of the interface, field by field."""
    fields = ("start_ts", "end_ts", "revenue", "visitors", "purchases", "aov")
    value = F.to_json(F.struct(*fields), {"ignoreNullFields": "false"})
    return metrics.select(F.col("start_ts").cast("string").alias("key"), value.alias("value"))


def first_event_offset(events: DataFrame) -> int | None:
    """Seconds after the clock hour of the earliest event, as the offset of windows; None when there is no event."""
    earliest = events.agg(F.min(F.unix_seconds("event_time")).alias("seconds")).first()
    return None if earliest is None or earliest.seconds is None else int(earliest.seconds) % HOUR
