"""The three marts of random events are those that plain Python computes from the specification."""

import math
import random
from collections.abc import Callable
from datetime import UTC, date, timedelta
from itertools import combinations
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from shop_streams.defs.community.friends import friends_rows, near_pairs
from shop_streams.defs.community.users import users_rows
from shop_streams.defs.community.zones import zones_rows, zones_since
from shop_streams.marts.window import first_read
from shop_streams_tests.defs.community import plain_marts as oracle
from shop_streams_tests.defs.community.frames import at, cities, rows_of, table_events, table_facts
from shop_streams_tests.defs.community.plain_marts import CITIES, Event, distance

FIRST, NOW = date(2026, 3, 1), at("2026-06-10T01:02:03")
USERS, DAYS = 40, 80


def random_events(seed: int) -> list[Event]:
    """Many ties, few places, some a few hundred metres apart, and a long time of few users."""
    pick, made = random.Random(seed), []
    for _ in range(400):
        kind = pick.choices(["message", "reaction", "registration", "subscription"], [6, 3, 1, 3])[0]
        user = pick.randrange(USERS)
        city = CITIES[user % 2 if pick.random() < 0.7 else pick.randrange(len(CITIES))]
        located = pick.random() < (0.6 if kind == "message" else 0.2)
        time = at(FIRST.isoformat()) + timedelta(days=pick.randrange(DAYS), hours=pick.choice([0, 12]))
        lat, lon = (round(city.lat + pick.randrange(4) * 0.006, 6), city.lon) if located else (None, None)
        number = pick.choice([None, 1, 2, 3]) if kind in ("message", "reaction") else None
        to = pick.randrange(USERS) if kind == "message" and pick.random() < 0.3 else None
        channel = pick.randrange(5) if kind == "subscription" else None
        made.append(Event(user, time, kind, lat, lon, number, to, channel))
    return made


def few(examples: int) -> Callable[..., Any]:
    """Few examples: each is many users, and several Spark jobs. The session has no state that an example could leave."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


SEEDS, DEPTHS, ENDS = st.integers(0, 2**32), st.sampled_from([1, 7, 30, 60, 0]), st.integers(20, DAYS)


@few(5)
@given(seed=SEEDS, depth=DEPTHS, day=ENDS)
def test_users(spark: SparkSession, seed: int, depth: int, day: int) -> None:
    events, end = random_events(seed), FIRST + day * oracle.DAY
    start = first_read(end, depth) or FIRST
    found = rows_of(users_rows(table_events(spark, events, start, end), cities(spark)), "user_id")
    assert found == sorted(oracle.users_mart(events, start, end), key=lambda row: row["user_id"])


@few(5)
@given(seed=SEEDS, depth=DEPTHS, day=ENDS)
def test_zones(spark: SparkSession, seed: int, depth: int, day: int) -> None:
    events, end = random_events(seed), FIRST + day * oracle.DAY
    start, since = first_read(end, depth), zones_since(end, depth) or FIRST
    frame, facts = table_events(spark, events, since, end), table_facts(spark, events, since)
    found = rows_of(zones_rows(frame, facts, cities(spark), {end: start}), "month", "week", "zone_id")
    assert found == oracle.zones_mart(events, start or min(event.day for event in events), end)


@few(5)
@given(seed=SEEDS, depth=DEPTHS, day=ENDS)
def test_friends(spark: SparkSession, seed: int, depth: int, day: int) -> None:
    events, end = random_events(seed), FIRST + day * oracle.DAY
    start = first_read(end, depth) or FIRST
    frame, facts = table_events(spark, events, start, end), table_facts(spark, events, start)
    found = rows_of(friends_rows(frame, facts, cities(spark), NOW.replace(tzinfo=UTC)), "user_left", "user_right")
    assert found == oracle.friends_mart(events, start, end, NOW)


@few(6)
@given(
    seed=SEEDS,
    lat=st.floats(-90, 90) | st.sampled_from([-90.0, 0.0, 90.0, 45.0]),
    lon=st.floats(-180, 180) | st.sampled_from([-180.0, 0.0, 90.0, 180.0]),
)
@example(seed=0, lat=90.0, lon=90.0)  # all points on a meridian, a hair on either side of the plane between two cubes
def test_points_a_km_around_any_place(spark: SparkSession, seed: int, lat: float, lon: float) -> None:
    """300 points on the few km around it; each pair's distance decides, whichever cubes they are in."""
    pick = random.Random(seed)
    points = [around((lat, lon), pick.uniform(0, 3), pick.uniform(0, 2 * math.pi)) for _ in range(300)]
    rows = [(FIRST, user, 1, 1, *point) for user, point in enumerate(points)]
    frame = spark.createDataFrame(
        rows, "calculation_date date, user_id bigint, channel bigint, zone_id bigint, lat double, lon double"
    )
    found = sorted((row.user_left, row.user_right) for row in near_pairs(frame).collect())
    assert found == [(a, b) for a, b in combinations(range(300), 2) if distance(points[a], points[b]) <= 1]


def around(place: tuple[float, float], km: float, direction: float) -> tuple[float, float]:
    """The point so far from `place` in this direction (radians from north)."""
    lat, lon, arc = math.radians(place[0]), math.radians(place[1]), km / 6371
    there = math.asin(math.sin(lat) * math.cos(arc) + math.cos(lat) * math.sin(arc) * math.cos(direction))
    turn = math.atan2(
        math.sin(direction) * math.sin(arc) * math.cos(lat), math.cos(arc) - math.sin(lat) * math.sin(there)
    )
    return math.degrees(there), (math.degrees(lon + turn) + 180) % 360 - 180
