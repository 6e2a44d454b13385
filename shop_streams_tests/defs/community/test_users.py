"""Where users are, have been and live: each rule of the specification with an example computed by hand."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from pyspark.sql import SparkSession

from shop_streams.defs.community.users import users_rows
from shop_streams.marts.window import first_read
from shop_streams_tests.defs.community.frames import at, cities, rows_of, table_events
from shop_streams_tests.defs.community.plain_marts import Event

END = date(2026, 5, 30)
SYDNEY, BRISBANE, PERTH, HOBART = (-33.86, 151.2), (-27.46, 153.0), (-31.95, 115.85), (-42.88, 147.32)


def message(
    time: str, place: tuple[float, float] | None = None, number: int | None = 1, kind: str = "message"
) -> Event:
    lat, lon = place or (None, None)
    return Event(1, at(time), kind, lat, lon, number)


def reaction(time: str, place: tuple[float, float] | None = None) -> Event:
    return message(time, place, kind="reaction")


def user(spark: SparkSession, *events: Event, since: date = date(2026, 1, 1)) -> dict[str, Any]:
    [row] = rows_of(users_rows(table_events(spark, events, since, END), cities(spark)), "user_id")
    return row


TRAVELS: dict[str, tuple[list[Event], dict[str, Any]]] = {
    "a repeat counts again, an immediate one does not": (
        [
            message("2026-05-01", SYDNEY), message("2026-05-02", SYDNEY), reaction("2026-05-03", PERTH), message("2026-05-04", SYDNEY),
        ],
        {"travel_array": ["Sydney", "Perth", "Sydney"], "act_city": "Sydney"},
    ),
    "an event without a place is no visit": (
        [reaction("2026-05-01", SYDNEY), reaction("2026-05-02"), reaction("2026-05-03", SYDNEY)],
        {"travel_array": ["Sydney"], "act_city": None, "local_time": None},
    ),
    "a reaction before the first located message is where that is": (
        [reaction("2026-05-01"), reaction("2026-05-02", PERTH), message("2026-05-10", SYDNEY)],
        {"travel_array": ["Sydney", "Perth", "Sydney"], "act_city": "Sydney"},
    ),
    "nothing is located": (
        [message("2026-05-01"), reaction("2026-05-02")],
        {"travel_array": [], "act_city": None, "home_city": None, "local_time": None},
    ),
    "the last message, not the last event": (
        [message("2026-05-01", SYDNEY), reaction("2026-05-02", PERTH)],
        {"travel_array": ["Sydney", "Perth"], "act_city": "Sydney", "local_time": at("2026-05-02T10:00")},
    ),
    "a tie: the type decides first, then the message": (
        [message("2026-05-01", HOBART, 9), reaction("2026-05-01", PERTH), message("2026-05-01", SYDNEY, 2)],
        {"travel_array": ["Sydney", "Hobart", "Perth"], "act_city": "Hobart"},
    ),
    "a tie: no message_id is before any, no coordinates before any": (
        [
            message("2026-05-01", HOBART, 1), message("2026-05-02", PERTH, None), message("2026-05-02", SYDNEY, -5),
            message("2026-05-03", BRISBANE, 7), message("2026-05-03", None, 7),
        ],
        {"travel_array": ["Hobart", "Perth", "Sydney", "Brisbane"], "act_city": "Brisbane"},
    ),
    "a tie of subscriptions: no coordinates of its own, then the smaller latitude": (
        [
            message("2026-05-01", BRISBANE), message("2026-05-02", SYDNEY, None, "subscription"),
            message("2026-05-02", None, None, "subscription"), message("2026-05-02", HOBART, None, "subscription"),
        ],
        {"travel_array": ["Brisbane", "Hobart", "Sydney"], "act_city": "Brisbane"},
    ),
    "a tie: no coordinates of its own first, also if it takes larger ones": (
        [
            message("2026-05-01T10", SYDNEY), message("2026-05-01T12", HOBART, None, "subscription"),
            message("2026-05-01T12", None, None, "subscription"),
        ],
        {"travel_array": ["Sydney", "Hobart"]},
    ),
    "the same if it takes those of a message after it": (
        [
            message("2026-05-01T12", HOBART, None, "subscription"), message("2026-05-01T12", None, None, "subscription"),
            message("2026-05-01T14", SYDNEY),
        ],
        {"travel_array": ["Sydney", "Hobart", "Sydney"]},
    ),
    "daylight saving in Hobart": (
        [message("2026-01-15", HOBART)], {"act_city": "Hobart", "local_time": at("2026-01-15T11:00")},
    ),
    "none there in winter": ([message("2026-05-15", HOBART)], {"local_time": at("2026-05-15T10:00")}),
    "never any in Brisbane": ([message("2026-01-15", BRISBANE)], {"local_time": at("2026-01-15T10:00")}),
}  # fmt: skip


def rows_of_cases(spark: SparkSession, cases: Iterable[list[Event]]) -> list[dict[str, Any]]:
    """The row of each case; its user is the number of the case, so that one Spark job computes all."""
    events = [replace(event, user=user) for user, events in enumerate(cases) for event in events]
    return rows_of(users_rows(table_events(spark, events, date(2026, 1, 1), END), cities(spark)), "user_id")


def test_where_a_user_is_and_has_been(spark: SparkSession) -> None:
    rows = rows_of_cases(spark, [events for events, _ in TRAVELS.values()])
    found = {
        name: {column: row[column] for column in expected}
        for (name, (_, expected)), row in zip(TRAVELS.items(), rows, strict=True)
    }
    assert found == {name: expected for name, (_, expected) in TRAVELS.items()}
    assert [row["travel_count"] for row in rows] == [len(row["travel_array"]) for row in rows]


# The last moment is 2026-05-31 00:00, so an open stay that begins on 2026-05-04 00:00 lasts 27 days.
HOMES: dict[str, tuple[list[Event], str | None]] = {
    "27 days exactly, open": ([message("2026-05-04", SYDNEY)], None),
    "a microsecond more, open": ([message("2026-05-03T23:59:59.999999", SYDNEY)], "Sydney"),
    "27 days exactly, then short ones": (
        [message("2026-03-01", SYDNEY), message("2026-03-28", PERTH), message("2026-04-02", HOBART), message("2026-05-05", PERTH)],
        "Hobart",
    ),
    "27 days exactly, ended": (
        [message("2026-04-10", SYDNEY), message("2026-05-07", PERTH)], None,
    ),
    "a microsecond more, ended": ([message("2026-04-10", SYDNEY), message("2026-05-07T00:00:00.000001", PERTH)], "Sydney"),
    "up to the first event in the next city, not the last in this one": (
        [message("2026-04-08", SYDNEY), message("2026-04-09", SYDNEY), message("2026-05-10", PERTH)], "Sydney",
    ),
    "a day elsewhere breaks the stay": (
        [message("2026-04-20", SYDNEY), message("2026-05-05", PERTH), message("2026-05-06", SYDNEY)], None,
    ),
    "an event without a place does not": (
        [reaction("2026-04-20", SYDNEY), reaction("2026-05-05")], "Sydney",
    ),
    "the last of two": ([message("2026-01-01", SYDNEY), message("2026-03-01", PERTH), message("2026-05-20", SYDNEY)], "Perth"),
    "only reactions": ([reaction("2026-04-01", HOBART)], "Hobart"),
}  # fmt: skip


def test_home_is_where_the_last_stay_of_more_than_27_days_was(spark: SparkSession) -> None:
    rows = rows_of_cases(spark, [events for events, _ in HOMES.values()])
    found = {name: row["home_city"] for name, row in zip(HOMES, rows, strict=True)}
    assert found == {name: expected for name, (_, expected) in HOMES.items()}


def test_a_window_that_is_shorter_than_a_stay_does_not_see_it(spark: SparkSession) -> None:
    events = [message("2026-04-01", SYDNEY), message("2026-05-10", SYDNEY), message("2026-05-20", PERTH)]
    assert user(spark, *events)["home_city"] == "Sydney"
    since = first_read(END, 30)
    assert since == date(2026, 5, 1)
    row = user(spark, *events, since=since)
    assert (row["home_city"], row["travel_array"]) == (None, ["Sydney", "Perth"])


def test_two_cities_of_one_name_are_two(spark: SparkSession) -> None:
    named = cities(spark).replace("Perth", "Sydney", ["city"])
    events = table_events(spark, [message("2026-05-01", SYDNEY), message("2026-05-02", PERTH)], date(2026, 1, 1), END)
    [row] = users_rows(events, named).collect()
    assert row.travel_array == ["Sydney", "Sydney"]


@pytest.mark.parametrize(("depth", "start"), [(1, END), (30, date(2026, 5, 1)), (31, date(2026, 4, 30)), (0, None)])
def test_the_window_ends_with_the_calculation_date(depth: int, start: date | None) -> None:
    assert first_read(END, depth) == start


def test_a_time_zone_that_java_does_not_know(spark: SparkSession) -> None:
    """Java has never known the link ROC (Taipei, 8 hours ahead); it stands for any zone that is newer than the Java."""
    named = cities(spark).replace("Australia/Sydney", "ROC", ["timezone"])
    events = table_events(spark, [message("2026-05-01T20", SYDNEY)], date(2026, 1, 1), END)
    assert [row["local_time"] for row in rows_of(users_rows(events, named), "user_id")] == [at("2026-05-02T04:00")]
