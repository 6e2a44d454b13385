"""Who may want to know whom: each rule of the specification with an example computed by hand."""

import math
from dataclasses import replace
from datetime import UTC, date
from typing import Any

from pyspark.sql import SparkSession

from shop_streams.defs.community.friends import friends_rows, near_pairs, subscribers
from shop_streams_tests.defs.community.frames import at, cities, rows_of, table_events, table_facts
from shop_streams_tests.defs.community.plain_marts import Event

START, END, NOW = date(2026, 5, 1), date(2026, 5, 30), at("2026-05-31T01:02:03.456789")
DEGREE = math.pi * 6371 / 180  # km, of a great circle
HERE = (-33.86, 151.2)  # in Sydney


def message(
    user: int, place: tuple[float, float] | None = HERE, to: int | None = None, time: str = "2026-05-10"
) -> Event:
    lat, lon = place or (None, None)
    return Event(user, at(time), "message", lat, lon, 1, message_to=to)


def subscription(user: int, channel: int | None = 7, time: str = "2020-01-01") -> Event:
    return Event(user, at(time), "subscription", channel=channel)


def found(spark: SparkSession, events: list[Event]) -> list[dict[str, Any]]:
    frame, facts = table_events(spark, events, START, END), table_facts(spark, events, START)
    rows = friends_rows(frame, facts, cities(spark), NOW.replace(tzinfo=UTC))
    return rows_of(rows, "user_left", "user_right")


def pairs(spark: SparkSession, events: list[Event]) -> list[tuple[int, int]]:
    return [(row["user_left"], row["user_right"]) for row in found(spark, events)]


def north(km: float, place: tuple[float, float] = HERE) -> tuple[float, float]:
    return place[0] + km / DEGREE, place[1]


def east(km: float, place: tuple[float, float] = HERE) -> tuple[float, float]:
    """On the parallel, which is a great circle near enough for a km, but not at a pole."""
    lon = place[1] + km / DEGREE / math.cos(math.radians(place[0]))
    return place[0], lon - 360 if lon > 180 else lon


TWO = [subscription(1), subscription(2)]
CASES: dict[str, tuple[list[Event], list[tuple[int, int]]]] = {
    "0.99 km north": ([*TWO, message(1), message(2, north(0.99))], [(1, 2)]),
    "1.01 km north": ([*TWO, message(1), message(2, north(1.01))], []),
    "half a millimetre less than a km": ([*TWO, message(1), message(2, north(0.9999995))], [(1, 2)]),
    "half a millimetre more": ([*TWO, message(1), message(2, north(1.0000005))], []),
    "0.99 km south": ([*TWO, message(1), message(2, north(-0.99))], [(1, 2)]),
    "0.99 km east": ([*TWO, message(1), message(2, east(0.99))], [(1, 2)]),
    "1.01 km east": ([*TWO, message(1), message(2, east(1.01))], []),
    "one place": ([*TWO, message(2), message(1)], [(1, 2)]),
    "0.99 km across the 180th meridian": (
        [*TWO, message(1, (10.0, 179.9999)), message(2, east(0.99, (10.0, 179.9999)))], [(1, 2)],
    ),
    "1.01 km across the 180th meridian": (
        [*TWO, message(1, (10.0, 179.9999)), message(2, east(1.01, (10.0, 179.9999)))], [],
    ),
    "the 180th meridian from both sides": ([*TWO, message(1, (10.0, 180.0)), message(2, (10.0, -180.0))], [(1, 2)]),
    "0.98 km across the pole": (
        [*TWO, message(1, (90 - 0.49 / DEGREE, 20.0)), message(2, (90 - 0.49 / DEGREE, -160.0))], [(1, 2)],
    ),
    "1.02 km across the south pole": (
        [*TWO, message(1, (0.51 / DEGREE - 90, 20.0)), message(2, (0.51 / DEGREE - 90, -160.0))], [],
    ),
    "the pole itself, whatever the longitude": ([*TWO, message(1, (90.0, 20.0)), message(2, (90.0, -100.0))], [(1, 2)]),
    "no common channel": ([subscription(1, 7), subscription(2, 8), message(1), message(2)], []),
    "no channel": ([subscription(1, None), subscription(2, None), message(1), message(2)], []),
    "two common channels, one of them twice": (
        [*TWO, subscription(1, time="2026-05-02"), subscription(1, 8), subscription(2, 8, "2026-05-30"), message(1), message(2)],
        [(1, 2)],
    ),
    "who wrote once, years ago, in the other direction": (
        [*TWO, message(2, None, to=1, time="2019-01-01"), message(1), message(2)], [],
    ),
    "who wrote in the window": ([*TWO, message(1, to=2), message(2)], []),
    "who wrote to somebody else": ([*TWO, message(1, to=3), message(3), message(2)], [(1, 2)]),
    "the last position in the window, not a nearer one": (
        [*TWO, message(1), message(2), message(2, north(5), time="2026-05-11")], [],
    ),
    "a position before the window does not count": ([*TWO, message(1), message(2, time="2026-04-30")], []),
    "a message in the window has the place of one before it": (
        [*TWO, message(1), message(2, time="2026-04-30"), message(2, None)], [(1, 2)],
    ),
    "a message without any place": ([*TWO, message(1), message(2, None)], []),
    "three, two of whom are too far from each other": (
        [*TWO, subscription(3), message(1, north(0.9)), message(2), message(3, north(-0.9))], [(1, 2), (2, 3)],
    ),
}  # fmt: skip


def apart(events: list[Event], case: int) -> list[Event]:
    """The events with users and channels of their own, so that one Spark job computes all cases."""

    def moved(number: int | None) -> int | None:
        return None if number is None else number + 100 * case

    return [
        replace(e, user=e.user + 100 * case, message_to=moved(e.message_to), channel=moved(e.channel)) for e in events
    ]


def test_a_pair_shares_a_channel_is_near_and_never_wrote(spark: SparkSession) -> None:
    events = [event for case, (events, _) in enumerate(CASES.values()) for event in apart(events, case)]
    by_case: dict[int, list[tuple[int, int]]] = {}
    for left, right in pairs(spark, events):
        by_case.setdefault(left // 100, []).append((left % 100, right - left // 100 * 100))
    assert {name: by_case.get(case, []) for case, name in enumerate(CASES)} == {
        name: e for name, (_, e) in CASES.items()
    }


def test_the_zone_and_the_clock_are_those_of_user_left(spark: SparkSession) -> None:
    """On both sides of the line between the zones of Sydney and Brisbane (30.6382 south), 0.8 km apart, and in two cubes; in May both are ten hours ahead of UTC, in January not."""
    sydney, brisbane = (-30.6418, 152.0), (-30.6346, 152.0)
    for south, other, zone in ((1, 2, 1), (2, 1, 3)):
        [row] = found(spark, [*TWO, message(south, sydney), message(other, brisbane)])
        assert (row["user_left"], row["user_right"], row["zone_id"]) == (1, 2, zone)
        assert row["processed_dttm"] == NOW and row["calculation_date"] == END
        assert row["local_time"] == at("2026-05-31T11:02:03.456789")
    frame, facts = table_events(spark, [*TWO, message(1), message(2)], START, END), table_facts(spark, TWO, START)
    summer = at("2026-01-15T13:00")
    [one] = friends_rows(frame, facts, cities(spark), summer.replace(tzinfo=UTC)).collect()
    assert one.local_time == at("2026-01-16")


def test_users_of_one_place_in_many_channels_are_not_paired_with_each_other(spark: SparkSession) -> None:
    """100,000 users at a point would be 5 billion pairs; each channel has two of them."""
    at_a_point = "current_date() as calculation_date, id as user_id, id div 2 as channel, 1L as zone_id, double(-33.86) as lat, double(151.2) as lon"
    assert near_pairs(spark.range(100_000).selectExpr(*at_a_point.split(", "))).count() == 50_000


def test_a_subscription_counts_once_and_only_with_a_position_in_the_window(spark: SparkSession) -> None:
    events = [
        *TWO, subscription(1, time="2026-05-02"), subscription(1, time="2026-05-03"), subscription(3),
        message(1), message(2, time="2026-04-30"), message(3, None),
    ]  # fmt: skip
    frame, facts = table_events(spark, events, START, END), table_facts(spark, events, START)
    assert [(row.user_id, row.channel) for row in subscribers(frame, facts).collect()] == [(1, 7)]


def test_a_time_zone_that_java_does_not_know(spark: SparkSession) -> None:
    """See the test of this name in test_users.py."""
    events = [*TWO, message(1), message(2)]
    frame, facts = table_events(spark, events, START, END), table_facts(spark, events, START)
    named = cities(spark).replace("Australia/Sydney", "ROC", ["timezone"])
    rows = rows_of(friends_rows(frame, facts, named, NOW.replace(tzinfo=UTC)), "user_left")
    assert [row["local_time"] for row in rows] == [at("2026-05-31T09:02:03.456789")]
