"""Events with the coordinates and zones that they have or take: cases by hand, and random ones against plain Python."""

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from shop_streams.defs.community.cities import Cities
from shop_streams.defs.community.transforms import events_of, zone_ids
from shop_streams_tests.defs.community.events import (
    EVENT_NAMES,
    NOWHERE,
    Event,
    Place,
    facts_frame,
    found_rows,
    position_facts,
    random_events,
    rows_of,
    stg_frame,
)

CITIES = [(1, -33.865, 151.2094), (2, 10.0, 10.0), (3, 10.0, 20.0), (4, 89.0, 100.0), (5, 0.0, 179.5)]
A, B, C = (10.1, 10.1), (10.1, 19.9), (-33.0, 150.0)  # in the zones 2, 3 and 1
DAY = date(2026, 2, 1)


def at(hour: float, day: int = 0) -> datetime:
    return datetime(2026, 2, 1, tzinfo=UTC) + timedelta(days=day, hours=hour)


def cities() -> Cities:
    ids, lats, lngs = zip(*CITIES, strict=True)
    names, zones = tuple(f"city {number}" for number in ids), ("UTC",) * len(ids)
    return Cities(np.array(ids), np.array(lats), np.array(lngs), names, zones, 1)


def found(
    spark: SparkSession, events: Sequence[Event], dates: Collection[date], positions: Iterable[tuple[Any, ...]]
) -> dict[str, dict[str, Any]]:
    stg = stg_frame(spark, [one for one in events if one.day in dates])
    frame = events_of(stg, facts_frame(spark, positions), cities())
    assert frame.columns == EVENT_NAMES
    return found_rows(frame)


# What it is; the events, the one in question first; its coordinates, zone, source, and the date of the source. The dates
# computed are February 1 and 2; what is earlier is known as the user's position.
Case = tuple[str, list[Event], tuple[Place, int | None, str | None, date | None]]
UNLOCATED: tuple[Place, None, None, None] = (NOWHERE, None, None, None)
CASES: list[Case] = [
    ("own coordinates", [Event(1, at(1), place=A), Event(2, at(0), place=B)], (A, 2, "own", None)),
    ("of a reaction too", [Event(1, at(1), kind="reaction", place=A), Event(2, at(0), place=B)], (A, 2, "own", None)),
    ("nothing is known", [Event(1, at(1))], UNLOCATED),
    ("an earlier message", [Event(1, at(1)), Event(2, at(0), place=A)], (A, 2, "earlier_message", DAY)),
    ("at the same time", [Event(1, at(1)), Event(2, at(1), place=A)], (A, 2, "earlier_message", DAY)),
    ("the last of two", [Event(1, at(3)), Event(2, at(2), place=B), Event(3, at(1), place=A)], (B, 3, "earlier_message", DAY)),
    ("one that knows its place", [Event(1, at(3)), Event(2, at(2)), Event(3, at(1), place=A)], (A, 2, "earlier_message", DAY)),
    ("of one time, the largest message_id", [
        Event(1, at(3), message_id=9), Event(2, at(1), place=A, message_id=10), Event(3, at(1), place=B, message_id=9),
    ], (A, 2, "earlier_message", DAY)),
    ("a message_id is larger than none", [
        Event(1, at(3)), Event(2, at(1), place=A, message_id=-5), Event(3, at(1), place=B),
    ], (A, 2, "earlier_message", DAY)),
    ("of one message_id, the larger coordinates", [
        Event(1, at(3)), Event(2, at(1), place=A, message_id=1), Event(3, at(1), place=B, message_id=1),
    ], (B, 3, "earlier_message", DAY)),
    ("other events lend no coordinates", [
        Event(1, at(3)), *[Event(n, at(1), kind=kind, place=A) for n, kind in enumerate(["reaction", "registration", "subscription"], 2)],
    ], UNLOCATED),
    ("other users neither", [Event(1, at(3)), Event(2, at(1), user=2, place=A)], UNLOCATED),
    ("a later message", [Event(1, at(1)), Event(2, at(3), place=B), Event(3, at(2), place=A)], (A, 2, "later_message", DAY)),
    ("one earlier is better", [Event(1, at(3)), Event(2, at(3.1), place=A), Event(3, at(0), place=B)], (B, 3, "earlier_message", DAY)),
    ("also of a date before", [Event(1, at(3)), Event(2, at(3.1), place=A), Event(3, at(0, -40), place=C)], (C, 1, "earlier_message", date(2025, 12, 23))),
    ("not a later one of the next date", [Event(1, at(23)), Event(2, at(24), place=A)], UNLOCATED),
    ("the last microsecond of the date", [
        Event(1, at(23)), Event(2, at(24) - timedelta(microseconds=1), place=A),
    ], (A, 2, "later_message", DAY)),
    ("from one date to the next", [Event(1, at(1, 1)), Event(2, at(3), place=A)], (A, 2, "earlier_message", DAY)),
    ("from one date to the next, for a later one on its date too", [
        Event(1, at(1, 1)), Event(2, at(2, 1), place=B), Event(3, at(3), place=A),
    ], (A, 2, "earlier_message", DAY)),
    ("NaN is no coordinate", [Event(1, at(1), place=(math.nan, 1.0)), Event(2, at(0), place=A)], (A, 2, "earlier_message", DAY)),
    ("nor is one without the other", [Event(1, at(1), place=(1.0, None)), Event(2, at(0), place=A)], (A, 2, "earlier_message", DAY)),
    ("nor one out of range", [Event(1, at(1), place=(1.0, 180.1)), Event(2, at(0), place=A)], (A, 2, "earlier_message", DAY)),
    ("such a message lends none", [Event(1, at(1)), Event(2, at(0), place=(-90.1, 0.0)), Event(3, at(0), place=(0.0, math.inf))], UNLOCATED),
    ("the edges are in range", [Event(1, at(1), place=(0.0, -180.0))], ((0.0, -180.0), 5, "own", None)),
    ("a pole", [Event(1, at(1), place=(90.0, -80.0))], ((90.0, -80.0), 4, "own", None)),
    ("a row that is delivered twice", [Event(1, at(1), place=A)] * 2 + [Event(2, at(3), place=A)] * 3, (A, 2, "own", None)),
]  # fmt: skip


def test_the_table_of_cases(spark: SparkSession) -> None:
    """Each case has users and events of its own, so that Spark computes all of them at once."""
    every, expected = [], {}
    for number, (what, events, row) in enumerate(CASES, 1):
        mine = [
            Event(e.number + 100 * number, e.at, e.user + 10 * number, e.kind, e.place, e.message_id) for e in events
        ]
        every += mine
        expected[mine[0].event_id] = what, row
    dates = [DAY, date(2026, 2, 2)]
    rows = found(spark, every, dates, position_facts(one for one in every if one.day < DAY))
    for event_id, (what, wanted) in expected.items():
        got = rows[event_id]
        place = got["lat"], got["lon"]
        assert (place, got["zone_id"], got["position_source"], got["position_date"]) == wanted, what
    oracle = rows_of(every, CITIES, dates)
    assert rows == oracle, "the expectation of the random events agrees"


def test_each_type_has_its_columns(spark: SparkSession) -> None:
    kinds = ("message", "reaction", "subscription", "registration")
    events = [Event(n, at(1), 7, kind, A, message_id=21, other=22, channel=23) for n, kind in enumerate(kinds)]
    rows = found(spark, events, [DAY], [])
    columns = ("message_id", "message_to", "channel")
    assert {row["event_type"]: tuple(row[name] for name in columns) for row in rows.values()} == {
        "message": (21, 22, 23), "reaction": (21, None, None), "subscription": (None, None, 22), "registration": (None, None, None),
    }  # fmt: skip
    assert all((row["user_id"], row["event_time"], row["event_date"]) == (7, at(1), DAY) for row in rows.values())


@pytest.mark.parametrize("seed", range(4))
def test_random_events_are_as_in_plain_python(spark: SparkSession, seed: int) -> None:
    """Dates that follow each other, computed together or alone; also dates with a gap, with the positions of the gap."""
    random = Random(seed)
    events = random_events(random, 400, users=12, days=6)
    events += random.choices(events, k=40)
    days = sorted({one.day for one in events})
    dates = [days[1:4], days[:1], days[3:], [days[1], days[4]]][seed]
    before = position_facts(one for one in events if one.day < dates[0])
    gaps = [day for day in days if dates[0] < day < dates[-1] and day not in dates]
    within = [row for gap in gaps for row in position_facts(one for one in events if one.day == gap)]
    assert found(spark, events, dates, before + within) == rows_of(events, CITIES, dates)


def test_zones_of_rows_without_a_position_are_null() -> None:
    places = cities().places
    lat, lon = pa.array([10.0, None, 10.0, None]), pa.array([10.0, 1.0, None, None])
    assert zone_ids(places, lat, lon).to_pylist() == [2, None, None, None]
    assert zone_ids(places, lat[1:], lon[1:]).to_pylist() == [None, None, None]
    assert zone_ids(places, lat[:0], lon[:0]).to_pylist() == []
