"""Dead letters that name a person are found by their decoded value or key, and removed with their origins recorded."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from shop_streams.defs.app_events.domain import DOMAIN as APP_EVENTS
from shop_streams.defs.clickstream.domain import DOMAIN as CLICKSTREAM
from shop_streams.defs.domains import ENCODINGS
from shop_streams.defs.sales.domain import DOMAIN as SALES
from shop_streams.lake import reader
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS, HEADERS
from shop_streams.streaming.forget import Origin, hours_of, letters_of, remove_letters
from shop_streams.streaming.forgotten import FORGOTTEN, forgotten_hours, record_origins
from shop_streams.streaming.persons import names_person

PARTY = "0:kd3nrzj4:Xy9"
CLICK = {"timestamp": 1, "eventType": None, "location": None, "sessionId": "0:s:1", "price": None, "amount": None}


@pytest.mark.parametrize(
    ("values", "person", "named"),
    [
        ([17], "17", True),
        (["17"], "17", True),
        ([b"17"], "17", True),
        ([None, 17], "17", True),
        ([True], "True", False),
        ([17.0], "17.0", False),
        ([117, "17 "], "17", False),
        ([["17"], {"17": 17}], "17", False),
        ([b"\xff"], "17", False),
    ],
)
def test_a_value_names_a_person(values: list[Any], person: str, named: bool) -> None:
    assert names_person(values, person) is named


def letter(domain: str, topic: str, offset: int | None, raw: bytes | None, key: bytes | None = None) -> dict[str, Any]:
    return {
        "domain": domain, "topic": topic, "kafka_partition": None if offset is None else 0, "kafka_offset": offset,
        "raw": raw, "reason": "wrong", "at": datetime.now(UTC), "key": key, "headers": None,
    }  # fmt: skip


def write(settings: Settings, *letters: dict[str, Any]) -> None:
    kinds = {
        "kafka_partition": pa.int32(), "kafka_offset": pa.int64(), "raw": pa.binary(), "at": pa.timestamp("us", "UTC"),
        "key": pa.binary(), "headers": HEADERS,
    }  # fmt: skip
    schema = pa.schema([(one.name, kinds.get(one.name, pa.string())) for one in DEAD_LETTERS.columns])
    rows = pa.Table.from_pylist(list(letters), schema=schema)
    write_deltalake(DEAD_LETTERS.uri(settings), rows, mode="append", partition_by=["domain"])


def test_letters_are_decoded_and_compared_in_the_field_of_their_domain(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    click = ENCODINGS["online_store"].write(CLICK)
    write(
        settings,
        letter("app_events", "events", 0, b'{"user_id": 17, "event_value": "x"}'),
        letter("app_events", "events", 1, b'{"user_id": "17"}'),
        letter("app_events", "events", 2, b'{"user_id": 5, "event_value": 17}'),
        letter("app_events", "events", 3, b'{"user_id": 17,'),
        letter("app_events", "events", 4, b'{"user_id": 117,'),
        letter("app_events", "events", 5, None),
        letter("app_events", "events", 6, b"[17]"),
        letter("sales", "shop_events", 0, b'{"uid": 17}'),
        letter("clickstream", "online_store", 0, click, PARTY.encode()),
        letter("clickstream", "online_store", 1, b"no avro", PARTY.encode()),
        letter("clickstream", "online_store", 2, click, b"0:other:1"),
    )
    app_events = letters_of(settings, "app_events", "17", APP_EVENTS.persons, ENCODINGS)
    assert sorted(map(str, app_events.naming)) == ["events:0:0", "events:0:1"]
    assert sorted(map(str, app_events.undecided)) == ["events:0:3", "events:0:6"]
    assert letters_of(settings, "sales", "17", SALES.persons, ENCODINGS).naming == [Origin("shop_events", 0, 0)]
    clicks = letters_of(settings, "clickstream", PARTY, CLICKSTREAM.persons, ENCODINGS).naming
    assert sorted(map(str, clicks)) == ["online_store:0:0", "online_store:0:1"]


def test_removed_letters_leave_their_origins_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    mine, others = b'{"user_id": 17}', b'{"user_id": 5}'
    write(settings, *[letter("app_events", "events", number, mine if number % 2 else others) for number in range(8)])
    write(settings, letter("sales", "events", 1, others), letter("app_events", "another", 3, others))
    found = letters_of(settings, "app_events", "17", APP_EVENTS.persons, ENCODINGS).naming
    assert remove_letters(settings, "app_events", found, APP_EVENTS.lake_streams) == 4
    left = reader.scan(DEAD_LETTERS.uri(settings), ["domain", "topic", "kafka_offset", "raw"]).to_pylist()
    assert {one["raw"] for one in left} == {others} and len(left) == 6
    origins = reader.scan(FORGOTTEN.uri(settings), [one.name for one in FORGOTTEN.columns]).to_pylist()
    assert sorted(one["kafka_offset"] for one in origins) == [1, 3, 5, 7]
    assert {(one["topic"], one["kafka_partition"], one["hour"]) for one in origins} == {("events", 0, None)}
    assert remove_letters(settings, "app_events", [], APP_EVENTS.lake_streams) == 0


def test_hours_begin_where_the_windows_do() -> None:
    moments = pa.chunked_array([[datetime(2026, 1, 1, 5, minute, tzinfo=UTC) for minute in (0, 29, 30, 59)]])
    five = int(datetime(2026, 1, 1, 5, tzinfo=UTC).timestamp())
    kinds = moments.cast(pa.timestamp("us", "UTC"))
    assert hours_of(kinds, 0).to_pylist() == [five] * 4
    assert hours_of(kinds, 1800).to_pylist() == [five - 1800] * 2 + [five + 1800] * 2


def test_the_table_of_forgotten_records_has_origins_and_hours_and_nothing_else(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert forgotten_hours(settings, "shop_events") == set()
    places = pa.table({"kafka_partition": [0, 1], "kafka_offset": [7, 7]})
    record_origins(settings, "shop_events", "c/t", places, pa.array([3600, 7200]))
    record_origins(settings, "events", None, places)
    assert forgotten_hours(settings, "shop_events") == {3600, 7200} and forgotten_hours(settings, "events") == set()
    names = [field.name for field in DeltaTable(FORGOTTEN.uri(settings)).schema().fields]
    assert names == ["topic", "kafka_partition", "kafka_offset", "topic_identity", "hour"]
