"""The mart of users: where each one is, where they have been, and where they live."""

from __future__ import annotations

from datetime import timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from shop_streams.defs.community.clocks import local_time
from shop_streams.defs.community.window import DAY, located, users_events

HOME_STAY = 27 * DAY  # the stay in a home is longer


def users_rows(events: DataFrame, cities: DataFrame) -> DataFrame:
    """Rows of USERS_MART without depth_days and source_rows: one for each user and calculation date of `events`.

    `events` has rows of EVENTS with calculation_date, of its window; `cities` has zone_id, city and timezone.
    """
    order = users_events()
    before = F.last("zone_id", ignorenulls=True).over(order.rowsBetween(Window.unboundedPreceding, -1))
    numbered = located(events).select(
        "calculation_date",
        "user_id",
        "event_type",
        "event_time",
        "zone_id",
        before.alias("before"),
        F.row_number().over(order).alias("n"),
    )
    # Two cities may have the same name: a visit ends where the zone changes.
    arrives = F.col("zone_id").isNotNull() & ~F.col("zone_id").eqNullSafe(F.col("before"))
    visit = F.when(arrives, F.struct("n", "event_time", "city"))
    message = F.when(F.col("event_type") == "message", F.col("n"))
    users = (
        numbered.join(F.broadcast(cities), "zone_id", "left")
        .groupBy("calculation_date", "user_id")
        .agg(
            F.max_by(F.struct("city", "timezone"), message).alias("last_message"),
            F.array_sort(F.collect_list(visit)).alias("visits"),
            F.max("event_time").alias("last_time"),
        )
    )
    return users.select(
        "user_id",
        F.col("last_message.city").alias("act_city"),
        F.size("visits").alias("travel_count"),
        F.col("visits.city").alias("travel_array"),
        home(F.col("visits")).alias("home_city"),
        local_time(F.col("last_time"), F.col("last_message.timezone")).alias("local_time"),
        "calculation_date",
    )


def home(visits: Column) -> Column:
    """The city of the last stay that is longer than `HOME_STAY`; null without one.

    `visits`: structs with event_time and city, in order. A stay lasts up to the next one, the last one to the end of the
    calculation date.
    """
    end = F.date_add("calculation_date", 1).cast("timestamp")

    def is_long(visit: Column, number: Column) -> Column:
        left = F.coalesce(F.get(visits, number + 1)["event_time"], end)
        stay = F.unix_micros(left) - F.unix_micros(visit["event_time"])
        return stay > HOME_STAY // timedelta(microseconds=1)

    long = F.filter(visits, is_long)
    return F.get(long, F.size(long) - 1)["city"]
