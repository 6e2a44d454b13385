"""Verdict and id of one row, from JSON and from Parquet."""

import hashlib
import math
from typing import Any

import pytest

from shop_streams.defs.community.rows import Event, Media, Row, typed, validate
from shop_streams.defs.community.schema import EVENT_STRUCT
from shop_streams.rules import Refused
from shop_streams_tests.defs.community.delivered import (
    TIMES,
    message,
)


def verdict(row: Any) -> Row | str:
    """The valid row, or the reason."""
    try:
        return validate(*_typed(row))
    except Refused as reason:
        return str(reason)


def _typed(row: Any) -> tuple[Any, ...]:
    raw, problems = typed(row)
    return raw, TIMES, problems


def of_type(event_type: Any, **event: Any) -> dict[str, Any]:
    return {"event": {"datetime": "2026-01-01 10:00:00"} | event, "event_type": event_type}


def test_the_fields_are_those_of_the_table() -> None:
    names = [part.split(":")[0].split("<")[-1].strip() for part in EVENT_STRUCT.split(",")]
    assert list(Event.__struct_fields__) == [name for name in names if name not in ("media_type", "src")]
    assert list(Media.__struct_fields__) == ["media_type", "src"]


@pytest.mark.parametrize(
    ("row", "user"),
    [
        (of_type("message", message_from=7, user="9"), 7),
        (of_type("reaction", reaction_from="7", user="9"), 7),
        (of_type("reaction", reaction_from=7), 7),
        (of_type("registration", user="7"), 7),
        (of_type("subscription", user="7", subscription_user="9"), 7),
        (of_type("subscription", subscription_user="9"), 9),
        (of_type("subscription", user=None, subscription_user=9.0), 9),
        (of_type("message", message_from=str(2**63 - 1)), 2**63 - 1),
    ],
)
def test_the_acting_user(row: dict[str, Any], user: int) -> None:
    found = verdict(row)
    assert isinstance(found, Row) and found.user_id == user


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ([], "is a list, not an object"),
        ("text", "is text, not an object"),
        ({}, "event_type is missing; event.datetime is missing"),
        (of_type(None, message_from=7), "event_type is missing"),
        (of_type("like", message_from=7), "event_type is none of message, reaction, registration, subscription"),
        (of_type("Message", message_from=7), "event_type is none of message, reaction, registration, subscription"),
        (of_type("message", user="7"), "event.message_from is missing"),
        (of_type("reaction", user="7"), "event.reaction_from is missing"),
        (of_type("registration", subscription_user="7"), "event.user is missing"),
        (of_type("subscription"), "event.user is missing"),
        (of_type("reaction", reaction_from=""), "event.reaction_from is wrong: text without an id in digits"),
        (of_type("reaction", reaction_from="a7"), "event.reaction_from is wrong: text without an id in digits"),
        (of_type("reaction", reaction_from="9" * 20), "event.reaction_from is wrong: an id of more than 64 bits"),
        (of_type("message", message_from=True), "event.message_from is wrong: a boolean where an id belongs"),
        (message(datetime=None), "event.datetime is missing"),
        (message(datetime="", message_ts="2026-01-01 10:00:00"), "event.datetime is no time like 2026-01-31 23:59:59"),
        (message(datetime=None, message_ts="now"), "event.message_ts is no time like 2026-01-31 23:59:59"),
        (message(datetime="2014-12-31 23:59:59"), "event.datetime is before 2015-01-01, the setting FIRST_DAY; are the units right?"),
        (message(datetime="2026-01-03 01:00:01"), "event.datetime is more than an hour ahead"),
        (message(datetime="2026-01-03 00:30:00-01:00"), "event.datetime is more than an hour ahead"),
        (message(admins=5, tags={}, media=[], message=[]),
         "event.message is wrong: a list where text belongs; event.admins is wrong: a number where a list belongs; "
         "event.tags is wrong: an object where a list belongs; event.media is wrong: a list where an object belongs"),
        (message(admins=[1, "2", "x", None, True]),
         "event.admins[2] is wrong: text without an id in digits; event.admins[4] is wrong: a boolean where an id belongs"),
        (message(media={"src": False}), "event.media.src is wrong: a boolean where text belongs"),
        (message() | {"lat": "55"}, "lat is wrong: text where a number belongs"),
        (message() | {"lat": True, "lon": []}, "lat is wrong: a boolean where a number belongs; lon is wrong: a list where a number belongs"),
        (message() | {"event": "{}"}, "event is wrong: text where an object belongs"),
        (message(message_from=5.5, datetime="x"), "event.message_from is wrong: a number that is no id; event.datetime is no time like 2026-01-31 23:59:59"),
    ],
)  # fmt: skip
def test_every_reason_is_named(row: Any, reasons: str) -> None:
    assert verdict(row) == reasons


@pytest.mark.parametrize(
    ("datetime", "message_ts", "expected"),
    [
        ("2026-01-01 10:00:00", "2026-01-01 11:00:00", 1767261600_000_000),
        (None, "2026-01-01T10:00:00.000001", 1767261600_000_001),
        ("2015-01-01 00:00:00", None, 1420070400_000_000),
        ("2015-01-01 02:59:59+03:00", None, None),
        ("2026-01-03 01:00:00", None, 1767402000_000_000),
    ],
)
def test_the_time_of_an_event(datetime: str | None, message_ts: str | None, expected: int | None) -> None:
    found = verdict(message(datetime=datetime, message_ts=message_ts))
    assert (found.event_time if isinstance(found, Row) else None) == expected


@pytest.mark.parametrize(
    ("lat", "kept"),
    [
        (None, None),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (10**400, None),
        (91.5, 91.5),
        (55, 55.0),
        (-0.0, 0.0),
    ],
)
def test_coordinates_never_refuse_a_row(lat: Any, kept: float | None) -> None:
    found = verdict(message() | {"lat": lat})
    assert isinstance(found, Row) and repr(found.raw.lat) == repr(kept)


SAME: list[dict[str, Any]] = [
    {},
    {"lat": 55}, {"lat": 55.0}, {"extra": 1},
    {"event": {"message_id": "1"}}, {"event": {"message_id": 1.0}}, {"event": {"message_id": "01"}}, {"event": {"extra": []}},
    {"event": {"message": None}},
]  # fmt: skip
OTHER: list[dict[str, Any]] = [
    {"lat": 0.0}, {"lat": None}, {"lon": 55.0},
    *[{"event": {name: value}} for name, value in [
        ("message", ""), ("message", "a"), ("message", "0"), ("tags", []), ("tags", [None]), ("tags", [""]), ("tags", ["a", "b"]),
        ("tags", ["ab"]), ("admins", []), ("admins", [1, 2]), ("admins", [12]), ("media", {}), ("media", {"src": "a"}),
        ("media", {"media_type": "a"}), ("media", {"src": ""}), ("user", "a"), ("user", "07"), ("user", "7"), ("reaction_type", "a"),
        ("message_id", 2), ("message_id", None), ("message_to", 7), ("channel_id", 1), ("message_group", 1), ("message_channel_to", 1),
        ("datetime", "2026-01-01T10:00:00"), ("message_ts", "2026-01-01 10:00:00"),
    ]],
]  # fmt: skip


def changed(change: dict[str, Any]) -> Row:
    base = message() | {"lat": 55.0}
    found = verdict(base | change | {"event": base["event"] | change.get("event", {})})
    assert isinstance(found, Row), found
    return found


def test_the_same_values_have_the_same_id() -> None:
    assert {changed(one).event_id for one in SAME} == {changed({}).event_id}


def test_other_values_have_other_ids() -> None:
    assert len({changed(one).event_id for one in [{}, *OTHER]}) == len(OTHER) + 1
    assert changed({"lat": -0.0}).event_id == changed({"lat": 0}).event_id
    assert changed({"lat": math.nan}).event_id == changed({"lat": None}).event_id


def test_ids_stay_as_they_are_with_later_versions() -> None:
    written = (
        '{"event":{"admins":[-1],"datetime":"2026-01-01 10:00:00","media":{"src":"\u00fc\\n\\u0000"},"message_from":7,"message_id":1,'
        '"message_to":8,"tags":["",null]},"event_type":"message","lat":55.0,"lon":1e-7}'
    )
    row = changed({"event": {"media": {"src": "\u00fc\n\0"}, "tags": ["", None], "admins": [-1]}, "lon": 1e-7})
    assert row.event_id == hashlib.blake2b(written.encode(), digest_size=16).hexdigest()
