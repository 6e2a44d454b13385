"""Every answer of the collector's endpoints, from the real process with the real Kafka behind it."""

import time
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.collector.app import field_of
from shop_streams_tests.harness import Stack

GOOD: dict[str, Any] = {
    "user_id": 1,
    "app_name": "web",
    "event_category": "nav",
    "event_action": None,
    "event_value": None,
}


def test_a_good_event_is_acknowledged_with_its_id(stack: Stack) -> None:
    answer = stack.post("/track", json=GOOD)
    assert answer.status_code == 200 and answer.json()["detail"] == "Event created"
    assert uuid.UUID(answer.json()["event_id"])
    chosen = str(uuid.uuid4())
    assert stack.post("/track", json=GOOD | {"event_id": chosen}).json()["event_id"] == chosen


def test_arrays_are_acknowledged_as_a_whole(stack: Stack) -> None:
    answer = stack.post("/track", json=[GOOD] * 1000)
    assert answer.status_code == 200 and len(set(answer.json()["event_ids"])) == 1000
    assert stack.post("/track", json=[GOOD] * 1001).status_code == 422
    assert stack.post("/track", json=[]).status_code == 422


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": "1"}, "user_id"),
        ({"user_id": 2**31}, "user_id"),
        ({"user_id": -(2**31) - 1}, "user_id"),
        ({"user_id": 1.5}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"app_name": None}, "app_name"),
        ({"app_name": ""}, "app_name"),
        ({"event_category": 7}, "event_category"),
        ({"event_value": 2**31}, "event_value"),
        ({"event_id": "not a uuid"}, "event_id"),
    ],
)
def test_a_bad_field_is_named(stack: Stack, change: dict[str, Any], field: str) -> None:
    answer = stack.post("/track", json=GOOD | change)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize("missing", ["user_id", "app_name", "event_category"])
def test_a_missing_field_is_named(stack: Stack, missing: str) -> None:
    answer = stack.post("/track", json={key: value for key, value in GOOD.items() if key != missing})
    assert (answer.status_code, answer.json()["field"]) == (422, missing)


@pytest.mark.parametrize("body", [b'{"user_id": 1', b"", b"\xff\xfe", b"null", b"[[]]", b"{" * 5000])
def test_what_is_not_an_event_is_422(stack: Stack, body: bytes) -> None:
    headers = {"X-Token": stack.settings.track_token, "Content-Type": "application/json"}
    assert stack.post("/track", content=body, headers=headers).status_code == 422


def test_other_refusals(stack: Stack) -> None:
    token = {"X-Token": stack.settings.track_token}
    assert stack.post("/track", json=GOOD, headers={}).status_code == 401
    assert stack.post("/track", json=GOOD, headers={"X-Token": "wrong"}).status_code == 401
    assert stack.post("/track", content=b"{}", headers=token | {"Content-Type": "text/plain"}).status_code == 415
    large = GOOD | {"app_name": "x" * stack.settings.body_limit_bytes}
    assert stack.post("/track", json=large).status_code == 413
    assert stack.post("/shop-events", json=GOOD).status_code == 422


@given(st.text())
def test_the_field_of_any_message_is_a_name(message: str) -> None:
    assert field_of(message)


def test_a_shop_event_obeys_the_streams_rules_at_the_endpoint(stack: Stack) -> None:
    now = int(time.time() * 1000)
    event = {"event_type": "buy", "item_price": 5, "timestamp": now}
    chosen = str(uuid.uuid4())
    answer = stack.post("/shop-events", json=event | {"event_id": chosen.upper()})
    assert (answer.status_code, answer.json()["event_id"]) == (200, chosen)
    for change in ({"timestamp": now + 3_700_000}, {"timestamp": now // 1000}, {"item_price": 10**12 + 1}, {"uid": 5}):
        answer = stack.post("/shop-events", json=event | change)
        assert (answer.status_code, answer.json()["field"]) == (422, next(iter(change)))
