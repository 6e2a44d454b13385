"""What the marts share: their windows of dates, the order of a user's events, and places for events that have none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from pyspark.sql import DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from shop_streams.defs.community.facts import is_position

DAY = timedelta(days=1)


def for_dates(events: DataFrame, starts: Mapping[date, date | None], since: date | None) -> DataFrame:
    """Each event of the dates from `since` on, once for each calculation date up to which it is read.

    `starts`: calculation date -> first date of its window, None for all. Adds calculation_date and in_window.
    """
    rows = [(day, start or date.min) for day, start in starts.items()]
    dates = events.sparkSession.createDataFrame(rows, "calculation_date date, start date")
    read = (F.col("event_date") <= F.col("calculation_date")) & (F.col("event_date") >= F.lit(since or date.min))
    # Both bounds as plain values too: Delta opens the files of these dates only.
    wanted = events.where(F.col("event_date").between(F.lit(since or date.min), F.lit(max(starts))))
    both = wanted.join(F.broadcast(dates), read)
    return both.withColumn("in_window", F.col("event_date") >= F.col("start")).drop("start")


def with_own_coordinates(events: DataFrame) -> DataFrame:
    """Add own_lat and own_lon: the coordinates that were delivered with the event, null if it came without."""
    is_own = F.col("position_source") == "own"
    return events.withColumns({"own_lat": F.when(is_own, F.col("lat")), "own_lon": F.when(is_own, F.col("lon"))})


def users_events() -> WindowSpec:
    """The events of each user in their order, for each calculation date. Spark puts nulls first.

    Events that are equal in all of these columns are in one zone, so no result depends on which of them comes first.
    """
    return Window.partitionBy("calculation_date", "user_id").orderBy(
        "event_time", "event_type", "message_id", "own_lat", "own_lon"
    )


def located(events: DataFrame) -> DataFrame:
    """Rows of EVENTS and `with_own_coordinates`. Unlocated ones have the zone of the user's first located message after them.

    An unlocated event has no located message before it in all history: else it would have the coordinates of that one.
    So the first located message in `events` is the first one after it.
    """
    every = users_events().rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    first_zone = F.first(F.when(is_position(), F.col("zone_id")), ignorenulls=True).over(every)
    return with_own_coordinates(events).withColumn("zone_id", F.coalesce("zone_id", first_zone))
