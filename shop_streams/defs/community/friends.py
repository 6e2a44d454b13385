"""The mart of friend recommendations: who is near whom, shares a channel, and never wrote to each other."""

from __future__ import annotations

from datetime import datetime
from itertools import product

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.community.clocks import local_time
from shop_streams.defs.community.window import with_own_coordinates

EARTH_RADIUS = 6371.0  # km
NEAR = 1.0  # km, of the great circle
# The sphere is cut into cubes. A point is joined to the points of its own cube, and copied to the touching cubes that are
# near it. Smaller cubes need more copies, larger ones give more pairs to measure: with 2 km, a point is in 4 cubes on
# average, and 5 pairs are measured for each that is near. Cubes know no pole and no 180th meridian.
CUBE = 2.0  # km
CUBES = 8192  # on each axis: more than the diameter needs, and three numbers below it fit into a bigint
# Of two touching cubes, one is ahead of the other, so that each pair of points meets once.
STEPS = [step for step in product((-1, 0, 1), repeat=3) if step >= (0, 0, 0)]
ROUNDING = 1e-6  # km: a chord is shorter than its arc, but not its rounding
AXES = ("x", "y", "z")
PAIR = ("calculation_date", "user_left", "user_right")


def friends_rows(events: DataFrame, facts_before: DataFrame, cities: DataFrame, processed_dttm: datetime) -> DataFrame:
    """Rows of FRIEND_RECOMMENDATIONS without depth_days and source_rows: one for each pair.

    `events` has rows of EVENTS with calculation_date and in_window; `facts_before` has USER_FACTS of all dates before them,
    `cities` has zone_id and timezone. `processed_dttm` has a time zone.
    """
    now = F.lit(processed_dttm)
    met = near_pairs(subscribers(events, facts_before)).select(*PAIR, "zone_id", F.lit(False).alias("wrote"))
    wrote = written_pairs(events, facts_before).select(
        *PAIR, F.lit(None).cast("bigint").alias("zone_id"), F.lit(True).alias("wrote")
    )
    # One shuffle makes the pairs distinct and finds those who wrote.
    pairs = met.union(wrote).groupBy(*PAIR).agg(F.max("zone_id").alias("zone_id"), F.bool_or("wrote").alias("wrote"))
    local = cities.select("zone_id", local_time(now, F.col("timezone")).alias("local_time"))
    return (
        pairs.where("zone_id is not null and not wrote")
        .join(F.broadcast(local), "zone_id", "left")
        .select(
            "user_left", "user_right", now.alias("processed_dttm"), "zone_id", "local_time",
            "calculation_date",
        )
    )  # fmt: skip


def last_positions(events: DataFrame) -> DataFrame:
    """calculation_date, user_id, zone_id, lat, lon of each user's last message in the window, if it is located.

    No need of `located`: an event that it locates is before the user's first located message, so it is not the last one.
    """
    order = F.struct("event_time", "message_id", "own_lat", "own_lon")
    last = F.max_by(F.struct("zone_id", "lat", "lon"), order).alias("last")
    messages = with_own_coordinates(
        events.where("in_window and event_type = 'message' and position_source is not null")
    )
    return messages.groupBy("calculation_date", "user_id").agg(last).select("calculation_date", "user_id", "last.*")


def subscribers(events: DataFrame, facts_before: DataFrame) -> DataFrame:
    """calculation_date, user_id, zone_id, lat, lon, channel: each subscription of all history once, of users with a position."""
    places = last_positions(events)
    earlier = facts_before.where("kind = 'subscription'").select("user_id", F.col("other").alias("channel"))
    recent = events.where("event_type = 'subscription' and channel is not null")
    known = places.join(earlier, "user_id")
    new = places.join(recent.select("calculation_date", "user_id", "channel"), ["calculation_date", "user_id"])
    return known.unionByName(new).distinct()


def written_pairs(events: DataFrame, facts_before: DataFrame) -> DataFrame:
    """calculation_date, user_left, user_right: who ever wrote to the other, in either direction; with repeats."""
    columns = ("calculation_date", "user_id", "other")
    dates = events.select("calculation_date").distinct()
    earlier = facts_before.where("kind = 'written_to'").crossJoin(F.broadcast(dates)).select(*columns)
    recent = events.where("event_type = 'message'").withColumn("other", F.col("message_to")).select(*columns)
    left, right = F.least("user_id", "other").alias("user_left"), F.greatest("user_id", "other").alias("user_right")
    return recent.union(earlier).where("other is not null").select("calculation_date", left, right)


def near_pairs(subscribers: DataFrame) -> DataFrame:
    """user_left, user_right, zone_id of user_left: subscribers of one channel who are near; once for each common channel."""
    here = _in_cubes(subscribers)
    a, b = _with_copies(here).alias("a"), here.alias("b")
    left_is_a = F.col("a.user_id") < F.col("b.user_id")
    both_here = F.col("a.cube") == F.col("a.home_cube")
    chord = sum(((F.col(f"a.{axis}") - F.col(f"b.{axis}")) ** 2 for axis in AXES), F.lit(0.0))
    met = (
        (F.col("a.calculation_date") == F.col("b.calculation_date"))
        & (F.col("a.cube") == F.col("b.cube"))
        & (F.col("a.channel") == F.col("b.channel"))
        & (left_is_a | ~both_here)
        & (chord <= (NEAR + ROUNDING) ** 2)  # it spares most of the haversines
        & (_haversine() <= NEAR)
    )
    return a.join(b, met).select(
        "a.calculation_date",
        F.least("a.user_id", "b.user_id").alias("user_left"),
        F.greatest("a.user_id", "b.user_id").alias("user_right"),
        F.when(left_is_a, F.col("a.zone_id")).otherwise(F.col("b.zone_id")).alias("zone_id"),
    )


def _in_cubes(places: DataFrame) -> DataFrame:
    """Add x, y, z in km from the earth's centre, and the number of the cube that the point is in."""
    lat, lon = F.radians("lat"), F.radians("lon")
    x, y, z = F.cos(lat) * F.cos(lon), F.cos(lat) * F.sin(lon), F.sin(lat)
    on_sphere = places.withColumns({axis: EARTH_RADIUS * unit for axis, unit in zip(AXES, (x, y, z), strict=True)})
    return on_sphere.withColumn("cube", _number([_index(axis) for axis in AXES]))


def _with_copies(here: DataFrame) -> DataFrame:
    """Each point in its own cube, and a copy in each cube ahead that is near to it. `home_cube` is its own one."""
    steps = F.array(
        *[F.struct(*[F.lit(one).alias(axis) for axis, one in zip(AXES, step, strict=True)]) for step in STEPS]
    )
    every = here.withColumnRenamed("cube", "home_cube").withColumn("step", F.explode(steps))
    step = {axis: F.col(f"step.{axis}") for axis in AXES}
    gap = sum((_gap(axis, step[axis]) ** 2 for axis in AXES), F.lit(0.0))
    cube = _number([_index(axis) + step[axis] for axis in AXES])
    return every.where(gap <= (NEAR + ROUNDING) ** 2).withColumn("cube", cube).drop("step")


def _index(axis: str) -> Column:
    """The index of the point's cube on an axis; never negative."""
    return F.floor(F.col(axis) / CUBE) + CUBES // 2


def _number(indexes: list[Column]) -> Column:
    x, y, z = indexes
    return (x * CUBES + y) * CUBES + z


def _gap(axis: str, step: Column) -> Column:
    """How far the point is on this axis from the cube that is `step` (-1, 0 or 1) further, km."""
    # By the same rounding as `_index`. pmod(-1e-17) is 0, as if the point were in the next cube.
    inside = F.col(axis) - F.floor(F.col(axis) / CUBE) * CUBE
    return F.when(step == 0, 0.0).when(step == 1, CUBE - inside).otherwise(inside)


def _haversine() -> Column:
    """The great circle distance between a and b, km."""
    lat_a, lat_b = F.radians("a.lat"), F.radians("b.lat")
    half_lat, half_lon = (lat_b - lat_a) / 2, (F.radians("b.lon") - F.radians("a.lon")) / 2
    square = F.sin(half_lat) ** 2 + F.cos(lat_a) * F.cos(lat_b) * F.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS * F.asin(F.sqrt(square))
