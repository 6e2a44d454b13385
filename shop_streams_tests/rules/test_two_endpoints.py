"""Both endpoints give the same verdict: a body over HTTP, and the same bytes out of Kafka as Spark's workers validate them."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shop_streams.collector.app import field_of
from shop_streams.collector.models import endpoints
from shop_streams.defs.app_events.rules import STORED_EVENT, StoredEvent, TrackedEvent
from shop_streams.defs.promotions.rules import CAMPAIGN
from shop_streams.defs.sales.rules import SHOP_EVENT
from shop_streams.rules import MAX_REASON, Rules
from shop_streams.settings import Settings
from shop_streams.streaming.records import Validator

FIRST_DAY = Settings().first_day
NOW = int(time.time() * 1000)
HOUR = 3_600_000
GOOD: dict[str, Any] = {
    "event_type": "buy", "category": "c", "item_id": "i", "item_price": 5, "uid": "u", "timestamp": NOW - HOUR,
}  # fmt: skip
UUID = "123e4567-e89b-12d3-a456-426614174000"
ENDPOINT = endpoints(FIRST_DAY)[1]


def body(**change: Any) -> bytes:
    return json.dumps(GOOD | change).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


def raw(field: str, text: str) -> bytes:
    """The body with JSON text, right or wrong, in the place of a field's value."""
    return body(**{field: "HERE"}).replace(b'"HERE"', text.encode())


def over_http(value: bytes) -> tuple[Any, str]:
    """(event, ""), or (None, the field that the answer names)."""
    try:
        return ENDPOINT.decode_one(value), ""
    except msgspec.ValidationError as error:
        assert len(str(error)) < MAX_REASON + 100
        return None, field_of(str(error))


def out_of_kafka(
    values: Sequence[bytes | None],
    rules: Rules = SHOP_EVENT,
    first_day: date = FIRST_DAY,
) -> Any:
    """(event or None, reason or None) of each."""
    at = pa.array([datetime.now(UTC)] * len(values), pa.timestamp("us", "UTC"))
    batch = pa.RecordBatch.from_arrays([at, pa.array(values, pa.binary())], names=["timestamp", "value"])
    (validated,) = Validator(rules, first_day.isoformat(), ()).batches(iter([batch]))
    return list(zip(validated.column("event").to_pylist(), validated.column("reason").to_pylist(), strict=True))


TAKEN: list[bytes] = [
    body(),
    b" \n" + body() + b"\r\n\t",
    without("uid"), body(uid=None), body(uid=""),
    without("category"), body(category=None), body(category=""),
    without("item_id"), body(item_id=None), body(item_id=""),
    body(item_price=0), body(item_price=10**12), raw("item_price", "-0"),
    body(event_id=UUID), body(event_id=UUID.upper()), body(event_id=None),
    body(uid="a\0b"), body(uid="😀"), raw("uid", '"\\ud83d\\ude00"'), body(category="a } and { b"),
    body(more={"nested": [1, {}]}), body(Uid=5), raw("more", "1e999"), raw("more", "[" * 90 + "]" * 90),
    raw("more", '"' + "[{" * 200 + '"'), raw("more", "[" + "[]," * 200 + '"\\"[["]'),
    body(timestamp=NOW + HOUR - 60_000), body(timestamp=1_420_070_400_000),
    b'{"item_price":7,' + body()[1:],  # twice: each must be right, and the last counts
]  # fmt: skip
REFUSED: list[tuple[bytes, str]] = [
    *[(raw("uid", wrong), "uid") for wrong in ("12345", '{"id":5}', "true", "[]", "1.5")],
    *[(raw(name, wrong), name) for name in ("category", "item_id") for wrong in ("5", "[1]", "false", "{}")],
    *[(raw("item_price", wrong), "item_price") for wrong in ('"5"', "5.5", "1.0", "1e3", "null", "true", "[]")],
    (body(item_price=-1), "item_price"), (body(item_price=10**12 + 1), "item_price"), (body(item_price=10**40), "item_price"),
    *[(without(name), name) for name in ("event_type", "item_price", "timestamp")],
    (body(event_type="look"), "event_type"), (body(event_type="x" * 900_000), "event_type"), (body(event_type=""), "event_type"),
    (raw("event_type", "null"), "event_type"), (raw("event_type", "1"), "event_type"),
    (body(timestamp=1_420_070_399_999), "timestamp"), (body(timestamp=NOW + 2 * HOUR), "timestamp"),
    (body(timestamp=NOW // 1000), "timestamp"), (body(timestamp=-5), "timestamp"), (body(timestamp=2**62), "timestamp"),
    *[(body(event_id=wrong), "event_id") for wrong in (UUID + "\n", "{" + UUID + "}", "urn:uuid:" + UUID, UUID.replace("-", ""), "", "x")],
    (b'{"item_price":"x",' + body()[1:], "item_price"),
    *[(value, "body") for value in (
        b"", b"   ", b"hello", b"5", b"null", b"[]", b"\xff\xfe\xfd", b"\xef\xbb\xbf" + body(), body()[:-1], body() + b" and more",
        body() + body(), body() + b"\0", json.dumps([GOOD]).encode(), body().replace(b'"', b"'"), body()[:-1] + b",}",
        raw("item_price", "007"), raw("more", "NaN"), raw("more", "Infinity"), raw("more", "+1"), raw("more", "1."),
        raw("uid", '"\\ud800"'), raw("uid", '"\\udc00\\ud800"'), raw("more", '"\\ud800"'), body(uid="x").replace(b'"x"', b'"\xed\xa0\x80"'),
        body(more="x").replace(b'"x"', b'"\xff"'), body(uid="x").replace(b'"x"', b'"\x01"'), raw("more", "[" * 101 + "]" * 101),
        raw("more", "[" * 50_000), raw("more", '{"a":' * 5_000), body(more="x" * 1_048_576),
    )],
]  # fmt: skip


@pytest.mark.parametrize("value", TAKEN, ids=lambda value: str(value[:60]))
def test_both_endpoints_accept(value: bytes) -> None:
    event, _ = over_http(value)
    [(row, reason)] = out_of_kafka([value])
    assert reason is None and msgspec.to_builtins(event) == row
    assert row["event_id"] in (None, UUID), "in lower case"


@pytest.mark.parametrize(("value", "field"), REFUSED, ids=lambda value: str(value[:60]))
def test_both_endpoints_refuse_and_name_the_field(value: bytes, field: str) -> None:
    assert over_http(value) == (None, field)
    [(row, reason)] = out_of_kafka([value])
    assert row is None and 0 < len(reason) <= MAX_REASON
    assert field == "body" or field in reason


def test_a_reason_lists_every_broken_rule() -> None:
    [(_, reason)] = out_of_kafka([body(event_type="look", item_price="5", uid=5, timestamp=5, event_id="x")])
    for words in ("event_type is none of view, buy", "item_price is wrong", "uid is wrong", "event_id is not a UUID"):
        assert words in reason
    assert "timestamp is before 2015-01-01, the setting FIRST_DAY" in reason


def test_an_array_names_the_element_and_the_field() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"uid is wrong.* - at `\$\[1\]\.uid`"):
        ENDPOINT.decode_many(b"[" + body() + b"," + body(uid=5) + b"]")
    assert len(ENDPOINT.decode_many(b"[" + body() + b"," + body() + b"]")) == 2


ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, 0, 1.0, "", "view", "buy", UUID, UUID + "\n", 10**12, 10**12 + 1, NOW, -1, 2**63, [], {}]),
    st.integers(), st.floats(), st.text(max_size=5),
)  # fmt: skip
OBJECTS = st.dictionaries(st.sampled_from([*GOOD, "event_id", "more"]), ODD, max_size=4).map(lambda odd: GOOD | odd)


@st.composite
def jsonish(draw: st.DrawFn) -> bytes:
    """JSON objects with odd values, some with a few bytes changed, taken out or put in."""
    value = bytearray(json.dumps(draw(OBJECTS), ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(value)))
        value[place : place + draw(st.integers(0, 3))] = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b"\\u", b'"', b","]))
        )
    return bytes(value)


@hypothesis_settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(jsonish(), st.binary(max_size=20)), max_size=20))
def test_any_bytes_get_the_same_verdict_at_both_endpoints(values: list[bytes]) -> None:
    for value, (row, reason) in zip(values, out_of_kafka(values), strict=True):
        event, field = over_http(value)
        assert (event is None) == (row is None) == (reason is not None)
        assert event is None or msgspec.to_builtins(event) == row
        assert event is not None or field == "body" or field in reason


CAMPAIGN_GOOD: dict[str, Any] = {
    "restaurant_id": UUID.upper(), "adv_campaign_id": UUID.upper(), "adv_campaign_content": "", "adv_campaign_owner": "o",
    "adv_campaign_owner_contact": "c", "adv_campaign_datetime_start": 1, "adv_campaign_datetime_end": 2, "datetime_created": 0,
}  # fmt: skip


WRONG_TEXTS: list[Any] = [{"a": 1}, [], 5, False]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *[({"adv_campaign_content": wrong}, "adv_campaign_content is wrong") for wrong in WRONG_TEXTS],
        ({"adv_campaign_owner": None}, "adv_campaign_owner is missing"),
        ({"adv_campaign_owner": "a\0b"}, "adv_campaign_owner holds a NUL character"),
        ({"restaurant_id": UUID + "\n"}, "restaurant_id is not a UUID"),
        ({"adv_campaign_datetime_end": 1}, "adv_campaign_datetime_end is not after adv_campaign_datetime_start"),
        ({"adv_campaign_datetime_end": 253_402_300_800}, "adv_campaign_datetime_end is wrong"),
        ({"datetime_created": 1.5}, "datetime_created is wrong"),
    ],
)
def test_a_campaign_is_refused_with_the_field(change: dict[str, Any], words: str) -> None:
    values = [json.dumps(CAMPAIGN_GOOD).encode(), json.dumps(CAMPAIGN_GOOD | change).encode()]
    (good, none), (row, reason) = out_of_kafka(values, CAMPAIGN)
    assert none is None and good["restaurant_id"] == good["adv_campaign_id"] == UUID, "kept in lower case"
    assert row is None and words in reason


def test_a_reason_lists_the_rules_about_the_whole_too_and_holds_no_control_characters() -> None:
    both = CAMPAIGN_GOOD | {"restaurant_id": "no id", "adv_campaign_datetime_end": 1}
    ((row, reason),) = out_of_kafka([json.dumps(both).encode()], CAMPAIGN)
    assert row is None and "restaurant_id is not a UUID" in reason
    assert "adv_campaign_datetime_end is not after adv_campaign_datetime_start" in reason
    twice = body().replace(b"{", b'{"event_type":"\\u001b[2J",', 1)
    ((row, reason),) = out_of_kafka([twice])
    assert row is None and reason.isprintable()


@pytest.mark.parametrize(("first_day", "taken"), [(date(1990, 1, 1), True), (date(2002, 1, 1), False)])
def test_both_endpoints_use_the_setting_of_the_first_day(first_day: date, taken: bool) -> None:
    value = body(timestamp=1_000_000_000_000)  # 2001-09-09
    shop_events = {endpoint.path: endpoint for endpoint in endpoints(first_day)}["/shop-events"]
    if taken:
        assert shop_events.decode_one(value).timestamp == 1_000_000_000_000
    else:
        with pytest.raises(msgspec.ValidationError, match="timestamp is before 2002-01-01, the setting FIRST_DAY"):
            shop_events.decode_one(value)
    ((row, reason),) = out_of_kafka([value], first_day=first_day)
    assert (row is not None) == taken and (taken or "is before 2002-01-01, the setting FIRST_DAY" in reason)


@pytest.mark.parametrize("moment", [1_700_000_000_000_000_000, -1])
def test_a_record_whose_own_time_is_no_date_is_refused_and_its_time_bounded(moment: int) -> None:
    """A producer that gives microseconds for milliseconds, on a topic that keeps the producer's time."""
    at = pa.array([moment, int(NOW * 1000)], pa.int64()).cast(pa.timestamp("us", "UTC"))
    batch = pa.RecordBatch.from_arrays([at, pa.array([body(), body()], pa.binary())], names=["timestamp", "value"])
    (validated,) = Validator(SHOP_EVENT, FIRST_DAY.isoformat(), ("timestamp",)).batches(iter([batch]))
    odd, good = validated.to_pylist()
    assert odd["event"] is None and "is not within the years" in odd["reason"] and 1970 <= odd["timestamp"].year <= 9999
    assert good["reason"] is None and good["timestamp"] == datetime.fromtimestamp(NOW / 1000, UTC)


def test_a_tracked_event_and_its_record_have_the_same_fields() -> None:
    """But for event_time, which the collector adds."""

    def fields(model: type[msgspec.Struct]) -> dict[str, Any]:
        return {one.encode_name: (one.type, one.required) for one in msgspec.structs.fields(model)}

    assert fields(StoredEvent) == {"event_time": (datetime, True)} | fields(TrackedEvent)


@given(
    st.builds(
        dict, user_id=st.integers(-(2**31), 2**31 - 1), app_name=st.text(min_size=1), event_category=st.text(min_size=1)
    )
)
def test_the_stream_accepts_every_event_that_track_accepts(event: dict[str, Any]) -> None:
    track = {endpoint.path: endpoint for endpoint in endpoints(FIRST_DAY)}["/track"]
    _, _, record = track.store(track.decode_one(msgspec.json.encode(event)))
    ((row, reason),) = out_of_kafka([record], STORED_EVENT)
    assert reason is None and {name: row[name] for name in event} == event
