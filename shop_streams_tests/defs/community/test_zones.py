"""What happens in the zones: each rule of the specification with an example computed by hand."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from pyspark.sql import SparkSession

from shop_streams.defs.community.zones import with_new_users, zones_rows, zones_since
from shop_streams.marts.window import first_read
from shop_streams_tests.defs.community.frames import at, cities, rows_of, table_events, table_facts
from shop_streams_tests.defs.community.plain_marts import Event

SYDNEY, PERTH = (-33.86, 151.2), (-31.95, 115.85)
MAY, JUNE = date(2026, 5, 1), date(2026, 6, 1)
APRIL_27, MAY_25 = date(2026, 4, 27), date(2026, 5, 25)  # Mondays
KINDS = ("message", "reaction", "subscription", "user")


def event(user: int, time: str, kind: str, place: tuple[float, float] | None = SYDNEY) -> Event:
    lat, lon = place or (None, None)
    return Event(user, at(time), kind, lat, lon)


def zones(
    spark: SparkSession, events: list[Event], depth: int, end: date
) -> dict[tuple[date, date, int], dict[str, Any]]:
    """(month, week, zone) -> row."""
    start = zones_since(end, depth) or date(2015, 1, 1)
    frame, facts = table_events(spark, events, start, end), table_facts(spark, events, start)
    found = rows_of(zones_rows(frame, facts, cities(spark), {end: first_read(end, depth)}), "zone_id")
    rows = {(row["month"], row["week"], row["zone_id"]): row for row in found}
    assert len(rows) == len(found)
    return rows


def counts(row: dict[str, Any], period: str) -> tuple[int, ...]:
    """Messages, reactions, subscriptions and new users of the week or the month."""
    return tuple(row[f"{period}_{kind}"] for kind in KINDS)


@pytest.mark.parametrize(
    ("day", "depth", "since"),
    [
        (date(2026, 5, 31), 1, MAY),  # its week begins on May 25th, its month earlier
        (date(2026, 5, 2), 1, APRIL_27),
        (date(2026, 5, 31), 30, APRIL_27),  # the window begins on May 2nd
        (date(2026, 6, 1), 1, JUNE),  # a Monday, and the first
        (date(2026, 6, 3), 5, MAY),
        (date(2026, 6, 3), 0, None),
    ],
)
def test_what_is_read_begins_with_the_windows_first_week_or_month(day: date, depth: int, since: date | None) -> None:
    assert zones_since(day, depth) == since


def test_a_week_across_two_months_is_under_each_as_a_whole(spark: SparkSession) -> None:
    """The window is Sunday, May 31st to Tuesday, June 2nd."""
    events = [
        event(1, "2026-05-24T23:59:59.999999", "reaction"),  # the week before, the same month
        event(1, "2026-05-25", "reaction"),  # the first of the week, before the window
        event(1, "2026-05-31T12:00", "subscription"),
        event(1, "2026-06-01", "reaction"),
        event(1, "2026-06-02T23:59:59.999999", "reaction", PERTH),
        event(1, "2026-06-03", "reaction"),  # after the calculation date
        event(1, "2026-04-30", "reaction"),
    ]
    rows = zones(spark, events, 3, date(2026, 6, 2))
    # June 1st is a Monday, so each week is in one month here.
    assert {key[:2] for key in rows} == {(MAY, MAY_25), (JUNE, JUNE)}
    assert counts(rows[MAY, MAY_25, 1], "week") == (0, 1, 1, 0) and counts(rows[MAY, MAY_25, 1], "month") == (
        0,
        2,
        1,
        0,
    )
    assert counts(rows[JUNE, JUNE, 1], "week") == (0, 1, 0, 0) == counts(rows[JUNE, JUNE, 1], "month")
    assert counts(rows[JUNE, JUNE, 4], "week") == (0, 1, 0, 0)
    # April 30th is a Thursday: with a window on both sides, its week is under April and May, and only there whole.
    april = [event(1, f"2026-{day}", "reaction") for day in ("04-26", "04-27", "04-30", "05-01", "05-01", "05-03")]
    both = zones(spark, april, 2, date(2026, 5, 1))
    assert {key[:2] for key in both} == {(date(2026, 4, 1), APRIL_27), (MAY, APRIL_27)}
    for month, total in ((date(2026, 4, 1), 3), (MAY, 2)):
        row = both[month, APRIL_27, 1]
        assert (row["week_reaction"], row["month_reaction"]) == (4, total)
    one = zones(spark, april, 1, date(2026, 5, 1))
    assert {key[:2] for key in one} == {(MAY, APRIL_27)} and one[MAY, APRIL_27, 1]["week_reaction"] == 4


def test_every_zone_has_a_row_with_zeros(spark: SparkSession) -> None:
    """Without any event too, for the window and for all dates."""
    for depth, weeks in ((8, 2), (0, 1)):
        rows = zones(spark, [], depth, date(2026, 5, 17))
        assert len(rows) == weeks * 4
        assert {counts(row, period) for row in rows.values() for period in ("week", "month")} == {(0, 0, 0, 0)}


def test_a_window_of_all_dates_begins_with_the_first_event(spark: SparkSession) -> None:
    rows = zones(spark, [event(1, "2026-04-30", "reaction"), event(1, "2026-05-05", "reaction")], 0, date(2026, 5, 5))
    assert {key[:2] for key in rows} == {(date(2026, 4, 1), APRIL_27), (MAY, APRIL_27), (MAY, date(2026, 5, 4))}


# Events of user 1 (and 2) -> the zone and date in which each is counted; read are the dates of May. Before, there are facts.
NEW_USERS: dict[str, tuple[list[Event], list[tuple[int | None, str]]]] = {
    "a registration before the first message": (
        [event(1, "2026-05-20", "registration", PERTH), event(1, "2026-05-26", "message")], [(4, "2026-05-20")],
    ),
    "a registration after the first message wins": (
        [event(1, "2026-05-18", "message"), event(1, "2026-05-26", "registration", PERTH)], [(4, "2026-05-26")],
    ),
    "a registration now, a message long ago": (
        [event(1, "2020-01-01", "message"), event(1, "2026-05-26", "registration", PERTH)], [(4, "2026-05-26")],
    ),
    "a registration long ago, the first message now": (
        [event(1, "2020-01-01", "registration"), event(1, "2026-05-26", "message")], [],
    ),
    "a message long ago": ([event(1, "2020-01-01", "message"), event(1, "2026-05-26", "message")], []),
    "two registrations": (
        [event(1, "2026-05-18", "registration"), event(1, "2026-05-26", "registration", PERTH)], [(1, "2026-05-18")],
    ),
    "a registration after the calculation date": (
        [event(1, "2026-05-26", "message"), event(1, "2026-06-01", "registration", PERTH)], [(1, "2026-05-26")],
    ),
    "only reactions and subscriptions": ([event(1, "2026-05-26", "reaction"), event(1, "2026-05-26", "subscription")], []),
    "an unlocated registration is where the first located message after it is": (
        [
            event(1, "2026-05-05", "registration", None), event(1, "2026-05-06", "registration"),
            event(1, "2026-05-26", "message", PERTH), event(1, "2026-05-27", "message"),
        ],
        [(4, "2026-05-05")],
    ),
    "an unlocated one without such a message is in no zone": (
        [event(1, "2026-05-26", "registration", None), event(1, "2026-05-27", "registration"), event(1, "2026-06-01", "message")],
        [(None, "2026-05-26")],
    ),
    "a user's first message of two": (
        [event(2, "2026-05-26T00:01", "message", PERTH), event(2, "2026-05-26", "message")], [(1, "2026-05-26")],
    ),
}  # fmt: skip


def test_a_user_is_counted_once(spark: SparkSession) -> None:
    """All cases in one Spark job: each has its own user."""
    events = [replace(one, user=case) for case, (events, _) in enumerate(NEW_USERS.values()) for one in events]
    read = table_events(spark, events, MAY, date(2026, 5, 31))
    found = with_new_users(read, table_facts(spark, events, MAY)).where("is_new").collect()
    by_case: dict[int, list[tuple[int | None, str]]] = {}
    for row in found:
        by_case.setdefault(row.user_id, []).append((row.zone_id, str(row.event_date)))
    assert {name: by_case.get(case, []) for case, name in enumerate(NEW_USERS)} == {
        name: expected for name, (_, expected) in NEW_USERS.items()
    }


def test_a_new_user_is_in_the_totals_of_the_week_and_the_month(spark: SparkSession) -> None:
    events = [
        event(1, "2026-05-18", "message"),
        event(2, "2026-05-26", "message"),
        event(3, "2026-05-27", "registration"),
    ]
    rows = zones(spark, events, 1, date(2026, 5, 31))
    assert (rows[MAY, MAY_25, 1]["week_user"], rows[MAY, MAY_25, 1]["month_user"]) == (2, 3)


def test_an_unlocated_reaction_is_where_the_first_located_message_after_it_is(spark: SparkSession) -> None:
    events = [event(1, "2026-05-05", "reaction", None), event(1, "2026-05-30", "message", PERTH)]
    end = date(2026, 5, 29)
    assert not any(row["month_reaction"] for row in zones(spark, events, 29, end).values())
    rows = zones(spark, events, 30, date(2026, 5, 30))
    assert (rows[MAY, MAY_25, 4]["month_reaction"], rows[MAY, MAY_25, 1]["month_reaction"]) == (1, 0)
