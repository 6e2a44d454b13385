"""Records in Avro: the same rules, another encoding of the bytes."""

import io
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import fastavro
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.avro import avro
from shop_streams.defs.app_events.rules import StoredEvent
from shop_streams.defs.clickstream.schema import CLICK_SCHEMA
from shop_streams.defs.sales.rules import ShopEvent
from shop_streams.encoding import JSON
from shop_streams.rules import Refused, Rules, check_time, times_at
from shop_streams.streaming.records import Validator, spark_types

FIRST_DAY = "2015-01-01"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
SCHEMA = {
    "type": "record",
    "name": "Click",
    "fields": [
        {"name": "item", "type": ["null", "string"]},
        {"name": "timestamp", "type": "long"},
        {"name": "count", "type": "int"},
    ],
}


class Click(msgspec.Struct):
    timestamp: int
    count: Annotated[int, msgspec.Meta(ge=0)]
    item: str | None = None


CLICK = Rules(Click, {"timestamp": lambda value, times: check_time(value * 1000, times)}, encoding=avro(SCHEMA))
GOOD = {"item": "A-1", "timestamp": NOW_MS, "count": 2}


def written(record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(SCHEMA)), record)
    return out.getvalue()


def reason(value: bytes | None) -> str:
    with pytest.raises(Refused) as refused:
        CLICK.validate(value, times_at(FIRST_DAY, NOW))
    return str(refused.value)


def test_a_good_record_is_read() -> None:
    assert CLICK.validate(written(GOOD), times_at(FIRST_DAY, NOW)) == Click(NOW_MS, 2, "A-1")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "empty value"),
        (b"", "empty value"),
        (written(GOOD)[:-1], "not Avro: the record is incomplete"),
        (written(GOOD)[:4], "not Avro: the record is incomplete"),
        (written(GOOD) + b"\x00", "not Avro: 1 bytes after the record"),
        (
            b"\x00\x00\x00\x00\x07" + written(GOOD),
            "it begins with Confluent's frame (byte 0 and a schema id); ",
        ),
        (b"\x00", "not Avro: the record is incomplete"),
        (b"\x01" + written(GOOD)[1:], "not Avro: not as an Avro library writes it"),  # branch -1 of the union
        (written(GOOD)[:-1] + b"\x84\x80\x00", "not Avro: not as an Avro library writes it"),  # 2 in three bytes
        (b"\x02" + b"\x80" * 1_000_000, "not Avro: "),
        (b"\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "not Avro: the record is incomplete"),  # a text of 2^63 bytes
        (b"\x02\x01" + written(GOOD)[1:], "not Avro: "),  # a text of -1 bytes
        (b"\x02\x02\xff" + written(GOOD)[5:], "not Avro: UnicodeDecodeError"),
        (b'{"item": "A-1"}', "not Avro: "),
        (written(GOOD | {"count": -1}), "count is wrong: Expected int >= 0"),
        (
            written(GOOD | {"timestamp": 5}),
            "timestamp is before 2015-01-01, the setting FIRST_DAY; are the units right?",
        ),
        (written(GOOD | {"timestamp": 5, "count": -1}), "timestamp is before"),
    ],
)
def test_a_wrong_value_has_a_reason(value: bytes | None, words: str) -> None:
    assert words in reason(value)


@pytest.mark.parametrize("inside", [{"type": "array", "items": "null"}, ["null", {"type": "map", "values": "string"}]])
def test_a_schema_whose_few_bytes_can_mean_endless_items_is_refused(inside: Any) -> None:
    nested = {"type": "record", "name": "Inner", "fields": [{"name": "many", "type": inside}]}
    with pytest.raises(ValueError, match="arrays or maps"):
        avro({"type": "record", "name": "Outer", "fields": [{"name": "inner", "type": nested}]})


@given(st.binary(max_size=64))
def test_any_bytes_are_a_record_or_have_a_reason(value: bytes) -> None:
    try:
        record = CLICK.validate(value, times_at(FIRST_DAY, NOW))
    except Refused as refused:
        assert str(refused)
    else:
        assert isinstance(record, Click)


def test_sparks_workers_read_it_with_key_and_headers_beside() -> None:
    headers = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
    columns = {
        "timestamp": pa.array([NOW, NOW], pa.timestamp("us", "UTC")),
        "value": pa.array([written(GOOD), b"x"], pa.binary()),
        "key": pa.array([b"party", None], pa.binary()),
        "headers": pa.array([[{"key": "event_id", "value": b"1"}], None], headers),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    (result,) = Validator(CLICK, FIRST_DAY, ("key", "headers")).batches(iter([batch]))
    first, second = result.to_pylist()
    assert (first["event"], first["reason"], first["key"]) == (GOOD, None, b"party")
    assert first["headers"] == [{"key": "event_id", "value": b"1"}]
    assert second["event"] is None and second["reason"].startswith("not Avro: ")


def test_the_types_that_spark_gets() -> None:
    assert spark_types(StoredEvent) == {
        "event_time": "timestamp",
        "user_id": "int",
        "app_name": "string",
        "event_category": "string",
        "event_action": "string",
        "event_value": "int",
        "event_id": "string",
    }
    assert spark_types(ShopEvent)["event_type"] == "string"
    assert (spark_types(ShopEvent)["item_price"], spark_types(ShopEvent)["timestamp"]) == ("bigint", "bigint")
    with pytest.raises(TypeError, match="no Spark type"):
        spark_types(msgspec.defstruct("Odd", [("items", list[int])]))


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
clicks = st.fixed_dictionaries(
    {"timestamp": st.integers(-(2**63), 2**63 - 1)}
    | dict.fromkeys(("eventType", "location", "sessionId", "price", "amount"), texts)
)


@given(clicks)
def test_any_click_as_json_is_the_same_click_again(click: dict[str, Any]) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(CLICK_SCHEMA)), click)
    text = avro(CLICK_SCHEMA).to_text(out.getvalue())
    assert json.loads(text) == click
    assert avro(CLICK_SCHEMA).of_text(text) == out.getvalue()
    assert avro(CLICK_SCHEMA).of_text(json.dumps(click, indent=1).encode()) == out.getvalue(), (
        "as another tool writes it"
    )


@given(st.binary(max_size=64))
def test_any_bytes_are_shown_as_json_or_as_they_are(value: bytes) -> None:
    encoding = avro(CLICK_SCHEMA)
    shown = encoding.readable(value)
    assert shown == value or encoding.parse(encoding.of_text(shown or b"")) == encoding.parse(value)
    assert JSON.readable(value) == JSON.to_text(value) == JSON.of_text(value) == value


@pytest.mark.parametrize(
    ("kind", "value"), [("bytes", b"abc"), ("double", float("nan")), (["null", "double"], float("nan"))]
)
def test_what_json_can_not_hold_is_not_shown_as_json(kind: Any, value: Any) -> None:
    encoding = avro({"type": "record", "name": "R", "fields": [{"name": "a", "type": kind}]})
    raw = encoding.write({"a": value})
    with pytest.raises(ValueError, match="can't hold"):
        encoding.to_text(raw)
    assert encoding.readable(raw) == raw


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b"{}", b'{"timestamp": 1.5}', b'{"timestamp": true}', b'{"timestamp": 9223372036854775808}',
             b'{"timestamp": 1, "price": 5}', b'{"timestamp": 1, "color": "red"}', b"[" * 100_000],
)  # fmt: skip
def test_a_text_that_is_no_click_is_refused_and_never_cut_to_one(text: bytes) -> None:
    with pytest.raises(ValueError):
        avro(CLICK_SCHEMA).of_text(text)
    assert avro(CLICK_SCHEMA).of_text(b'{"timestamp": 1}') == b"\x02" + b"\x00" * 5, (
        "fields with a default may be absent"
    )


def test_floats_and_booleans_reach_spark() -> None:
    model = msgspec.defstruct("Measured", [("ratio", float), ("sound", bool), ("note", bool | None, None)])
    assert spark_types(model) == {"ratio": "double", "sound": "boolean", "note": "boolean"}
    batch = pa.RecordBatch.from_pydict(
        {
            "timestamp": pa.array([NOW] * 2, pa.timestamp("us", "UTC")),
            "value": pa.array([b'{"ratio": 1.5, "sound": true}', b'{"ratio": "x"}']),
        }
    )
    (result,) = Validator(Rules(model), FIRST_DAY, ()).batches(iter([batch]))
    first, second = result.to_pylist()
    assert first["event"] == {"ratio": 1.5, "sound": True, "note": None}
    assert second["event"] is None and "ratio is wrong" in second["reason"] and "sound is missing" in second["reason"]
