"""Pure transforms of app_events: DataFrame in, DataFrame out."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from shop_streams.defs.app_events.rules import STORED_EVENT
from shop_streams.marts.earlier import may_repeat
from shop_streams.streaming.records import validate_records


def validate(records: DataFrame, first_day: str) -> DataFrame:
    """Records of `events` with `event`, or `reason` for those that break a rule."""
    return validate_records(records, STORED_EVENT, first_day)


def project(validated: DataFrame) -> DataFrame:
    """Columns of the table `app_events/events` but the hash. A record without an event_id is identified by its origin."""
    origin = F.concat_ws(":", "topic", "partition", "offset")
    rows = validated.select(
        "event.*",
        F.to_date("event.event_time").alias("event_date"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.coalesce("event.event_id", origin).alias("identity"),
    )
    return rows.withColumn("event_id", F.col("identity")).drop("identity")


def without_repeats(events: DataFrame, earlier: DataFrame) -> DataFrame:
    """Each event once: the first of each event_id, unless `earlier` (events before the window) has it already."""
    order = Window.partitionBy("event_id").orderBy("event_time", "kafka_partition", "kafka_offset")
    first = events.withColumn("_nth", F.row_number().over(order)).where("_nth = 1").drop("_nth")
    return first.join(may_repeat(earlier.select("event_id"), events, "event_id"), "event_id", "left_anti")


def enrich(events: DataFrame) -> DataFrame:
    """Add `u_count`, the user's events, and `u_mp_ea`, the user's most frequent action, over all of `events`.

    Null actions don't count. Of equally frequent actions the alphabetically first wins. Null if the user has no action.
    """
    by_user = Window.partitionBy("user_id")
    actions = events.where(F.col("event_action").isNotNull()).groupBy("user_id", "event_action").count()
    order = Window.partitionBy("user_id").orderBy(F.desc("count"), F.asc("event_action"))
    favourite = (
        actions.withColumn("_rank", F.row_number().over(order))
        .where("_rank = 1")
        .select("user_id", F.col("event_action").alias("u_mp_ea"))
    )
    return events.withColumn("u_count", F.count(F.lit(1)).over(by_user)).join(favourite, "user_id", "left")
