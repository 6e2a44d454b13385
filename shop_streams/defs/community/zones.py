"""The mart of zones: what happened in each city in a week and in a month."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from shop_streams.defs.community.window import DAY, located, users_events
from shop_streams.marts.window import first_read

COUNTED = ("message", "reaction", "subscription", "user")  # of the last one, only new users
FIRST_ONES = ("registration", "message")  # kinds of USER_FACTS, and types of events, that a user is counted by


def zones_since(calculation_date: date, depth: int) -> date | None:
    """The first date that the mart reads: of the week or the month in which its window begins. None for all dates (depth 0)."""
    start = first_read(calculation_date, depth)
    return start and min(start - start.weekday() * DAY, start.replace(day=1))


def zones_rows(
    events: DataFrame, facts_before: DataFrame, cities: DataFrame, starts: Mapping[date, date | None]
) -> DataFrame:
    """Rows of ZONES_MART without depth_days and source_rows: one for each city, in each week of each month of the window.

    `events` has rows of EVENTS with calculation_date, from the earliest `zones_since` on or from before; `facts_before` has
    USER_FACTS of all dates before the first of these; `cities` has zone_id. `starts`: calculation date -> the first date of
    its window; None for the first event's date.
    """
    counts = (
        with_new_users(events, facts_before)
        .where("zone_id is not null")
        .groupBy("calculation_date", "zone_id", _month("event_date"), _week("event_date"))
        .agg(*[_count(what) for what in COUNTED])
    )
    totals = {
        f"{period}_{what}": F.sum(F.coalesce(what, F.lit(0))).over(
            Window.partitionBy("calculation_date", "zone_id", period)
        )
        for period in ("week", "month")
        for what in COUNTED
    }
    return (
        _weeks(events, starts)
        .crossJoin(cities.select("zone_id"))
        .join(counts, ["calculation_date", "zone_id", "month", "week"], "left")
        .withColumns(totals)
        .where("in_window")
        .select("month", "week", "zone_id", *totals, "calculation_date")
    )


def with_new_users(events: DataFrame, facts_before: DataFrame) -> DataFrame:
    """The `located` events with `is_new`: whether the user is counted by this one.

    That is the first registration, or the first message of a user who never registered.
    """
    # A first one of an earlier date is here as one more row of the user, without a date, so that none of `events` is the first.
    readers = events.select("calculation_date", "user_id").distinct()
    firsts = facts_before.where(F.col("kind").isin(*FIRST_ONES))
    earlier = firsts.join(readers, "user_id").select(
        "calculation_date", "user_id", F.col("kind").alias("event_type"), "event_time"
    )
    to_here = users_events().rowsBetween(Window.unboundedPreceding, Window.currentRow)
    every = users_events().rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    is_registration, is_message = (F.col("event_type") == kind for kind in FIRST_ONES)
    is_first_registration = is_registration & (F.count(F.when(is_registration, 1)).over(to_here) == 1)
    is_first_message = is_message & (F.count(F.when(is_message, 1)).over(to_here) == 1)
    never_registered = F.count(F.when(is_registration, 1)).over(every) == 0
    return (
        located(events.unionByName(earlier, allowMissingColumns=True))
        .withColumn("is_new", is_first_registration | (is_first_message & never_registered))
        .where("event_date is not null")
    )


def _weeks(events: DataFrame, starts: Mapping[date, date | None]) -> DataFrame:
    """calculation_date, month, week: all that are read; in_window: whether a date of the window falls into both."""
    dates = events.sparkSession.createDataFrame([*starts.items()], "calculation_date date, start date")
    if None in starts.values():
        firsts = events.groupBy("calculation_date").agg(F.min("event_date").alias("first"))
        first = F.coalesce("start", "first", "calculation_date")
        dates = dates.join(firsts, "calculation_date", "left").select("calculation_date", first.alias("start"))
    since = F.least(F.trunc("start", "week"), F.trunc("start", "month"))
    days = dates.select("*", F.explode(F.sequence(since, F.col("calculation_date"))).alias("day"))
    in_window = F.bool_or(F.col("day") >= F.col("start")).alias("in_window")
    return days.groupBy("calculation_date", _month("day"), _week("day")).agg(in_window)


def _month(day: str) -> Column:
    return F.trunc(day, "month").alias("month")


def _week(day: str) -> Column:
    return F.trunc(day, "week").alias("week")


def _count(what: str) -> Column:
    return F.count_if(F.col("is_new") if what == "user" else F.col("event_type") == what).alias(what)
