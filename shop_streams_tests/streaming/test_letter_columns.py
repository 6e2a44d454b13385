"""A dead letter keeps the record's key and headers, of a refused record and of a poisoned one."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from shop_streams.defs.sales.streams import INGEST
from shop_streams.lake import reader
from shop_streams.lake.maintenance import expire, maintain
from shop_streams.lake.table import Column, SchemaMismatch, Table
from shop_streams.settings import Settings
from shop_streams.spark import open_session
from shop_streams.streaming import narrowing
from shop_streams.streaming.dead_letters import DEAD_LETTERS, as_dead_letters
from shop_streams.streaming.narrowing import _write_letters
from shop_streams.streaming.records import RECORD_TYPES
from shop_streams_tests.harness import Stack
from shop_streams_tests.streaming.letter_table import create_letters
from shop_streams_tests.streaming.letters import find

HEADERS = [{"key": "event_id", "value": b"e1"}, {"key": "event_id", "value": None}]
NEW = ("key", "headers")
OF_FILES = ("file", "line")


def test_a_refused_record_keeps_what_its_stream_has_read(spark: SparkSession) -> None:
    kinds = RECORD_TYPES | {"reason": "string"}
    row = (
        "online_store",
        1,
        7,
        datetime(2026, 1, 1, tzinfo=UTC),
        b"v",
        b"party",
        [("event_id", b"e1"), ("none", None)],
    )
    with_all = spark.createDataFrame([(*row, "bad")], ", ".join(f"{name} {kind}" for name, kind in kinds.items()))
    for records, key, headers in (
        (with_all, b"party", [("event_id", b"e1"), ("none", None)]),
        (with_all.drop(*NEW), None, None),
    ):
        letters = as_dead_letters(records, "clickstream")
        assert letters.columns[-4:] == [*NEW, *OF_FILES] and dict(letters.dtypes)["headers"] == RECORD_TYPES[
            "headers"
        ].replace(": ", ":").replace(", ", ",")
        (found,) = letters.collect()
        assert (found.domain, found.kafka_offset, bytes(found.raw), found.reason) == ("clickstream", 7, b"v", "bad")
        assert (found.key, found.headers) == (key, headers)
        assert (found.file, found.line) == (None, None)


def test_the_second_start_finds_the_types_of_its_own_table(tmp_path: Path) -> None:
    settings, nothing_to_do = Settings(home=tmp_path), cast(SparkSession, None)
    create_letters(settings)
    DEAD_LETTERS.create(nothing_to_do, settings)
    other = Table(DEAD_LETTERS.path, (Column("headers", "array<string>"),), ("domain",), "")
    with pytest.raises(SchemaMismatch, match=r"headers of dead_letters is array<struct<key: string, value: binary>>"):
        other.create(nothing_to_do, settings)


@pytest.mark.parametrize(("key", "headers"), [(b"party", [("event_id", b"e1"), ("event_id", None)]), (None, None)])
def test_a_poisoned_record_keeps_key_and_headers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: bytes | None, headers: Any
) -> None:
    settings = Settings(home=tmp_path)
    record = SimpleNamespace(value=lambda: b"v", key=lambda: key, headers=lambda: headers, timestamp=lambda: (2, 1000))
    monkeypatch.setattr(narrowing, "record_at", lambda *_: record)
    monkeypatch.setattr(narrowing, "topic_identity", lambda *_: "cluster/topic")
    create_letters(settings)
    for _ in range(2):  # a crash in between repeats it
        _write_letters(INGEST, settings, [(0, 5, "it fails")])
    [letter] = find(settings, "sales")
    assert (letter["key"], letter["headers"]) == (key, HEADERS if headers else [])
    assert letter["reason"].startswith("poisoned in shop_events_ingest: ")


def test_a_table_of_an_earlier_version_gets_both_and_every_reader_goes_on(stack: Stack) -> None:
    settings, spark = stack.settings, open_session(stack.settings)
    old = tuple(column for column in DEAD_LETTERS.columns if column.name not in (*NEW, *OF_FILES))
    path = f"tests/{uuid.uuid4().hex}"
    before, now = Table(path, old, ("domain",), ""), Table(path, DEAD_LETTERS.columns, ("domain",), "")
    uri = now.uri(settings)
    before.create(spark, settings)
    values = "'sales', 't', 0, {}, cast('v' as binary), 'r', timestamp '2026-01-01 00:00:00'"
    spark.sql(f"insert into delta.`{uri}` values ({values.format(1)})")
    now.create(spark, settings)
    now.create(spark, settings)  # the second start finds its own types
    struct = "array(named_struct('key', 'event_id', 'value', cast('e1' as binary)))"
    spark.sql(f"insert into delta.`{uri}` values ({values.format(2)}, cast('party' as binary), {struct}, null, null)")
    letter = pa.Table.from_pylist(
        [{"domain": "sales", "topic": "t", "kafka_partition": 0, "kafka_offset": 3, "raw": b"v", "reason": "r",
          "at": datetime(2026, 1, 1, tzinfo=UTC), "key": None, "headers": HEADERS}],
        reader.open_table(uri).to_pyarrow_dataset().schema,  # type: ignore[union-attr]
    )  # fmt: skip
    write_deltalake(uri, letter, mode="append")
    expected = [(1, None, None), (2, b"party", HEADERS[:1]), (3, None, HEADERS)]

    def rows() -> list[tuple[Any, ...]]:
        found = reader.scan(uri, ["kafka_offset", *NEW]).to_pylist()
        return sorted((row["kafka_offset"], row["key"], row["headers"]) for row in found)

    assert rows() == expected
    maintain(uri, "domain", ["sales"], 168)
    assert reader.file_counts(uri, "domain") == {"sales": 1} and rows() == expected, "compacted"
    assert expire(uri, "at", 30, "kafka_offset = 1") == 1 and rows() == expected[1:]
    shown = stack.cli("show", path).stdout
    assert "event_id" in shown and "headers" in shown and "2 rows" in shown
    assert [
        bytes(row.key) if row.key else None for row in now.read(spark, settings).orderBy("kafka_offset").collect()
    ] == [b"party", None]
