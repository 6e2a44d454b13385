"""Pure transforms of sales. The managed stream, the `aggregate` command and the mart call the same functions.

Needs pyspark and nothing else: plain `spark-submit` runs it too.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shop_streams.streaming.records import Rule, parse_json, required, time_rules, value_rules, with_reason

FIRST_DAY = "2015-01-01"  # event times come from the data: older ones are taken for a mistake in the units
RECORD_FIELDS = "event_type string, category string, item_id string, item_price bigint, uid string, timestamp bigint"
HOUR = 3600
LATEST_MILLISECONDS = 253_402_300_799_999  # the end of the year 9999: beyond it Spark's conversion overflows


def judge(records: DataFrame) -> DataFrame:
    """Records of `shop_events` with `event` parsed and `reason` set for those that break a rule."""
    milliseconds = F.col("event.timestamp")
    event_type = F.col("event.event_type")
    rules: list[Rule] = [
        *value_rules(),
        *required("event_type", "item_price", "timestamp", text=("category", "item_id")),
        (~event_type.isin("view", "buy"), "event_type is neither view nor buy"),
        (~milliseconds.between(0, LATEST_MILLISECONDS), "timestamp is no time in milliseconds"),
        *time_rules(F.timestamp_millis(milliseconds), FIRST_DAY),
    ]
    return with_reason(parse_json(records, RECORD_FIELDS), rules)


def rows(judged: DataFrame) -> DataFrame:
    """Columns of the table `sales/shop_events`."""
    time = F.timestamp_millis("event.timestamp")
    return judged.select(
        "event.event_type",
        "event.category",
        "event.item_id",
        "event.item_price",
        "event.uid",
        time.alias("event_time"),
        F.to_date(time).alias("event_date"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
    )


def good_events(judged: DataFrame) -> DataFrame:
    """Events of judged records that no rule refuses: event_type, item_price, uid, event_time.

    The observed count is a barrier: without it Spark parses each value once for the filter and once more for the
    result.
    """
    observed = judged.observe("judged", F.count(F.lit(1)).alias("records"), F.count("reason").alias("refused"))
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


def hourly_metrics(events: DataFrame, offset_seconds: int = 0, *extra: Column) -> DataFrame:
    """One row for each hour that has an event: start_ts, end_ts, revenue, visitors, purchases, aov, and `extra`.

    No watermark: a late event changes its hour however old it is, and the state is one small row an hour.
    """
    is_buy = F.col("event_type") == "buy"
    start = hour_start(F.col("event_time"), offset_seconds).alias("start_ts")
    return (
        events.groupBy(start)
        .agg(
            F.coalesce(F.sum(F.when(is_buy, F.col("item_price"))), F.lit(0)).cast("bigint").alias("revenue"),
            F.count("uid").alias("visitors"),
            F.count(F.when(is_buy, 1)).alias("purchases"),
            *extra,
        )
        .withColumn("end_ts", F.col("start_ts") + HOUR)
        .withColumn("aov", F.try_divide("revenue", "purchases"))
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
