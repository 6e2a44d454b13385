"""The oracle against examples that were computed by hand, so that it is more than a second guess."""

from datetime import date, datetime, timedelta

import pytest

from shop_streams_tests.defs.community import oracle
from shop_streams_tests.defs.community.oracle_examples import (
    ADELAIDE,
    CITIES,
    DAY,
    MELBOURNE,
    SYDNEY,
    dds,
    event,
    subscribed,
    valid,
)


def test_the_smaller_id_of_equally_near_cities() -> None:
    cities = oracle.read_cities(b"id;city;lat;lng;timezone\n9;East;0;10;UTC\n4;West;0;-10;UTC\n5;Far;0;175;UTC\n")
    rows = valid(
        *(event("message", 1, "2026-07-01 10:00:00", (0.0, lon)) for lon in (0.0, 0.000001, 0.001, -0.001, -179.9))
    )
    # A millionth of a degree is 11 cm: 22 cm nearer to East are equally near. A thousandth is 111 m.
    assert [one["zone_id"] for one in oracle.dds(rows, cities)] == [4, 4, 9, 4, 5]
    north = oracle.dds(valid(event("message", 1, "2026-07-01 10:00:00", (89.0, 180.0))), cities)
    assert [one["zone_id"] for one in north] == [5]


def test_where_an_event_without_coordinates_was() -> None:
    rows = dds(
        event("reaction", 1, "2026-07-01 08:00:00"),  # before the first located message, on its date
        event("reaction", 1, "2026-06-30 23:59:59"),  # on the day before
        event("message", 1, "2026-07-01 09:00:00", SYDNEY, message_id=1),
        event("message", 1, "2026-07-02 09:00:00", SYDNEY, message_id=3),  # of equal times the largest id counts
        event("message", 1, "2026-07-02 09:00:00", MELBOURNE, message_id=4),
        event("reaction", 1, "2026-07-02 09:00:00"),  # up to its time, this included
        event("reaction", 1, "2026-07-02 08:59:59"),
        event("reaction", 1, "2026-07-03 09:00:00", ADELAIDE),  # no message: it locates itself alone
        event("subscription", 1, "2026-07-04 09:00:00", (999.0, 1.0)),
        event("reaction", 2, "2026-07-04 09:00:00"),
    )
    assert [(one["zone_id"], one["position_source"], str(one["position_date"])) for one in rows] == [
        (1, "later_message", "2026-07-01"), (None, None, "None"), (1, "own", "None"), (1, "own", "None"),
        (2, "own", "None"), (2, "earlier_message", "2026-07-02"), (1, "earlier_message", "2026-07-01"),
        (7, "own", "None"), (2, "earlier_message", "2026-07-02"), (None, None, "None"),
    ]  # fmt: skip
    assert (rows[8]["lat"], rows[8]["lon"]) == MELBOURNE and rows[9]["lat"] is None


def test_a_late_fill_counts_from_the_date_of_the_message_on() -> None:
    events = dds(
        event("reaction", 1, "2026-06-30 12:00:00"),
        event("message", 1, "2026-07-02 12:00:00", MELBOURNE),
        event("message", 1, "2026-07-03 12:00:00", SYDNEY),
    )
    travels = {day: oracle.users(events, CITIES, date(2026, 6, 30) + timedelta(days=day), 30)[0]["travel_array"] for day in range(4)}  # fmt: skip
    assert travels == {0: [], 1: [], 2: ["Melbourne"], 3: ["Melbourne", "Sydney"]}
    of_june = [oracle.zones(events, CITIES, date(2026, 7, day), None) for day in (1, 2)]
    counts = [
        [(row["zone_id"], row["month_reaction"]) for row in rows if row["month"] == date(2026, 6, 1)]
        for rows in of_june
    ]
    assert counts == [[(1, 0), (2, 0), (7, 0)], [(1, 0), (2, 1), (7, 0)]]


@pytest.mark.parametrize(
    ("begin", "moves", "expected"),
    [
        ("2026-07-01 00:00:00", "2026-07-28 00:00:00", None),  # 27 days exactly
        ("2026-07-01 00:00:00", "2026-07-28 00:00:00.000001", "Sydney"),
        ("2026-07-01 00:00:01", "2026-07-28 00:00:00", None),
    ],
)
def test_a_home_needs_more_than_27_days(begin: str, moves: str, expected: str | None) -> None:
    events = dds(event("message", 1, begin, SYDNEY), event("reaction", 1, "2026-07-10 00:00:00", SYDNEY),
                 event("message", 1, moves, MELBOURNE))  # fmt: skip
    assert [row["home_city"] for row in oracle.users(events, CITIES, date(2026, 7, 30), 30)] == [expected]


@pytest.mark.parametrize(("day", "expected"), [(27, None), (28, "Sydney")])
def test_an_open_stay_lasts_to_the_end_of_the_calculation_date(day: int, expected: str | None) -> None:
    events = dds(event("message", 1, "2026-07-01 00:00:00", SYDNEY))
    assert oracle.users(events, CITIES, date(2026, 7, day), 30)[0]["home_city"] == expected
    events = dds(event("message", 1, "2026-06-30 23:59:59", SYDNEY))
    assert oracle.users(events, CITIES, date(2026, 7, 27), 30)[0]["home_city"] == "Sydney"
    assert oracle.users(events, CITIES, date(2026, 7, 27), 27) == [], "the window begins behind the only event"


def test_a_users_row() -> None:
    events = dds(
        event("message", 3, "2026-07-01 10:00:00", SYDNEY),
        event("message", 3, "2026-07-02 10:00:00", SYDNEY),
        event("reaction", 3, "2026-07-03 10:00:00", ADELAIDE),
        event("message", 3, "2026-07-04 10:00:00", SYDNEY),
        event("reaction", 3, "2026-07-05 23:30:00", ADELAIDE),
        event("reaction", 3, "2026-07-06 00:00:00"),  # on the next date
        event("registration", 4, "2026-07-05 10:00:00"),
    )
    assert oracle.users(events, CITIES, date(2026, 7, 5), 30) == [
        {"user_id": 3, "act_city": "Sydney", "travel_count": 4,
         "travel_array": ["Sydney", "Adelaide", "Sydney", "Adelaide"], "home_city": None,
         "local_time": datetime(2026, 7, 6, 9, 30)},
        {"user_id": 4, "act_city": None, "travel_count": 0, "travel_array": [], "home_city": None, "local_time": None},
    ]  # fmt: skip


def test_a_tie_is_decided_by_type_and_then_by_message_id() -> None:
    events = dds(
        event("reaction", 1, "2026-07-01 10:00:00", ADELAIDE, message_id=1),
        event("message", 1, "2026-07-01 10:00:00", SYDNEY, message_id=10),
        event("message", 1, "2026-07-01 10:00:00", MELBOURNE, message_id=9),
        event("message", 1, "2026-07-01 10:00:00", ADELAIDE),  # without an id first
    )
    (user,) = oracle.users(events, CITIES, DAY, 1)
    assert user["travel_array"] == ["Adelaide", "Melbourne", "Sydney", "Adelaide"] and user["act_city"] == "Sydney"


def test_the_last_tie_is_decided_by_the_coordinates_that_were_delivered() -> None:
    """Two subscriptions at one time: without coordinates comes first, wherever the user's last message was."""
    noon = "2026-07-01 12:00:00"
    events = dds(
        event("message", 1, "2026-07-01 10:00:00", SYDNEY),  # 33.86 south
        event("subscription", 1, noon, MELBOURNE),  # 37.8 south: a smaller latitude than Sydney's
        event("subscription", 1, noon, tags=["a"]),  # it takes Sydney's, and comes first all the same
        event("subscription", 2, noon, MELBOURNE),
        event("subscription", 2, noon, tags=["b"]),  # it takes those of the message after it
        event("message", 2, "2026-07-01 14:00:00", SYDNEY),
    )
    assert [(row["user_id"], row["travel_array"]) for row in oracle.users(events, CITIES, DAY, 30)] == [
        (1, ["Sydney", "Melbourne"]),
        (2, ["Sydney", "Melbourne", "Sydney"]),
    ]


def test_a_week_that_spans_two_months() -> None:
    # 2026-06-29 is a Monday.
    events = dds(
        event("message", 1, "2026-06-28 10:00:00", SYDNEY),  # the week before
        event("message", 1, "2026-06-29 10:00:00", SYDNEY),
        event("reaction", 1, "2026-06-30 10:00:00", SYDNEY),
        event("message", 1, "2026-07-01 10:00:00", SYDNEY),
        event("registration", 1, "2026-07-01 11:00:00", MELBOURNE),
        event("registration", 1, "2026-07-02 11:00:00", SYDNEY),  # counted once: the first one
        event("message", 2, "2026-07-01 10:00:00", SYDNEY, message="the first"),  # without a registration
        event("message", 2, "2026-07-02 10:00:00", SYDNEY),
        event("registration", 3, "2026-07-01 10:00:00"),  # unlocated: in no zone
        event("message", 1, "2026-07-03 10:00:00", SYDNEY),  # after the calculation date
    )
    rows = oracle.zones(events, CITIES, date(2026, 7, 2), 3)  # from 30 June
    names = ("message", "reaction", "subscription", "user")
    table = {(row["month"].month, row["week"].day, row["zone_id"]): (*(row[f"week_{name}"] for name in names),
             *(row[f"month_{name}"] for name in names)) for row in rows}  # fmt: skip
    assert table == {
        (6, 29, 1): (4, 1, 0, 1, 2, 1, 0, 0),
        (6, 29, 2): (0, 0, 0, 1, 0, 0, 0, 0),
        (6, 29, 7): (0, 0, 0, 0, 0, 0, 0, 0),
        (7, 29, 1): (4, 1, 0, 1, 3, 0, 0, 1),
        (7, 29, 2): (0, 0, 0, 1, 0, 0, 0, 1),
        (7, 29, 7): (0, 0, 0, 0, 0, 0, 0, 0),
    }
    weeks = {(row["month"], row["week"]) for row in oracle.zones(events, CITIES, date(2026, 7, 2), None)}
    assert {(month.month, week.day) for month, week in weeks} == {(6, 22), (6, 29), (7, 29)}


def test_friends() -> None:
    # A thousandth of a degree of latitude is 111.19 m: 8 of them are 890 m, and 9 are 1001 m.
    at = "2026-07-01 10:00:00"
    rows = [
        *(event("message", user, at, (-33.0 - 0.001 * steps, 151.0)) for user, steps in ((1, 0), (2, 8), (3, 9), (4, 4), (5, 1))),
        *(subscribed(user, 7) for user in (1, 2, 3, 4)), subscribed(5, 8), subscribed(1, 7, "2026-01-02 10:00:00"),
        event("message", 4, "2025-01-01 10:00:00", message_to=1),  # in all history, in either direction
        event("message", 2, "2026-07-05 10:00:00", message_to=3),  # after the calculation date
    ]  # fmt: skip
    assert oracle.friends(dds(*rows), CITIES, date(2026, 7, 2), 30) == [
        {"user_left": 1, "user_right": 2, "zone_id": 1}, {"user_left": 2, "user_right": 3, "zone_id": 1},
        {"user_left": 2, "user_right": 4, "zone_id": 1}, {"user_left": 3, "user_right": 4, "zone_id": 1},
    ]  # fmt: skip
    after = oracle.friends(dds(*rows), CITIES, date(2026, 7, 5), 30)
    assert [(row["user_left"], row["user_right"]) for row in after] == [(1, 2), (2, 4), (3, 4)]
    assert oracle.friends(dds(*rows), CITIES, date(2026, 7, 2), 1) == [], "their last messages are before the window"


@pytest.mark.parametrize(("one", "other"), [((0.0, 180.0), (0.0, -179.992)), ((89.999, 0.0), (89.999, 180.0))])
def test_friends_across_the_180th_meridian_and_the_pole(one: tuple[float, float], other: tuple[float, float]) -> None:
    at = "2026-07-01 10:00:00"
    rows = [event("message", 1, at, one), event("message", 2, at, other), subscribed(1, 7), subscribed(2, 7)]
    assert len(oracle.friends(dds(*rows), CITIES, DAY, 30)) == 1
