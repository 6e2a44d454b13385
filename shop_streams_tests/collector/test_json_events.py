"""Bodies of `POST /event` become clicks, or are refused in words."""

import json
from typing import Any

import pytest

from shop_streams.collector.divolte import read_event
from shop_streams.collector.mincode import Unreadable
from shop_streams_tests.collector.clients import EVENT, NOON, PARTY, SESSION


def test_an_event_as_json() -> None:
    body = EVENT | {"event_type": "buy", "parameters": {"price": 1490.5, "amount": "2", "is_gift": True}}
    click = read_event(PARTY, json.dumps(body).encode())
    assert (click.party_id, click.session_id, click.event_id) == (PARTY, SESSION, "e1")
    assert (click.is_new_party, click.is_first_in_session, click.corrupt) == (False, True, False)
    assert (click.event_type, click.price, click.amount, click.location) == ("buy", "1490.5", "2", None)
    assert click.client_time == NOON
    assert json.loads(click.parameters or b"") == body["parameters"]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01T14:00:00.250+02:00", NOON + 250),
        ("2026-01-01T12:00:00.123456789Z", NOON + 123),
        ("2026-01-01T12:00Z", NOON),
        ("1970-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_times_of_iso_8601(text: str, milliseconds: int) -> None:
    assert read_event(PARTY, json.dumps(EVENT | {"client_timestamp_iso": text}).encode()).client_time == milliseconds


@pytest.mark.parametrize(
    "changes",
    [
        *[{name: None} for name in EVENT if name != "event_type"],
        {"session_id": "x"},
        {"event_id": ""},
        {"is_new_party": "t"},
        {"client_timestamp_iso": "2026-01-01T12:00:00"},
        {"client_timestamp_iso": "noon"},
        {"client_timestamp_iso": "1969-12-31T23:59:59Z"},
        {"client_timestamp_iso": "0001-01-01T00:00:00+14:00"},
        {"client_timestamp_iso": "9999-12-31T23:59:59-14:00"},
        {"client_timestamp_iso": "2026-01-01\ud800"},
        {"event_type": 5},
        {"event_type": "\ud800"},
        {"parameters": json.loads("[" * 33 + "]" * 33)},
        {"parameters": {"a": json.loads('{"a":' * 32 + "1" + "}" * 32)}},
    ],
)
def test_an_event_that_is_not_one(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_event(PARTY, json.dumps(EVENT | changes).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b'{"a":' * 3000, b"[" * 16_000])
def test_a_body_that_is_no_event(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_event(PARTY, body)


def test_parameters_may_be_nested_32_deep() -> None:
    body = json.dumps(EVENT | {"parameters": json.loads("[" * 32 + "]" * 32)}).encode()
    assert read_event(PARTY, body).parameters == b"[" * 32 + b"]" * 32
