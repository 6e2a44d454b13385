"""A batch is appended once, also when it is repeated, or raced by a query that should be dead."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from shop_streams.lake.table import Column, SchemaMismatch, Table
from shop_streams.lake.write import append_small_batch, in_partitions
from shop_streams.settings import Settings


def test_a_small_batch_is_appended_once_even_if_writers_race(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    write_deltalake(uri, pa.table({"day": pa.array([], pa.string()), "batch": pa.array([], pa.int64())}))
    problems: list[BaseException] = []

    def append(batch: int, together: threading.Barrier) -> None:
        together.wait()
        try:
            append_small_batch(pa.table({"day": ["2026-01-01"], "batch": [batch]}), uri, "writer", batch)
        except BaseException as problem:  # asserted on in the test's own thread
            problems.append(problem)

    for batch in range(8):
        together = threading.Barrier(3)
        threads = [threading.Thread(target=append, args=(batch, together)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    append_small_batch(pa.table({"day": ["2026-01-01"], "batch": [3]}), uri, "writer", 3)
    assert problems == []
    assert sorted(DeltaTable(uri).to_pyarrow_table()["batch"].to_pylist()) == list(range(8))


def test_the_condition_of_several_partitions_has_the_columns_type() -> None:
    table = Table("t", (Column("n", "int"), Column("day", "date")), ("day",), "")
    assert in_partitions(table, ["2026-01-01", "2026-02-01"]) == (
        "day in (cast('2026-01-01' as date), cast('2026-02-01' as date))"
    )


def test_a_table_with_nested_columns_is_recognized_as_its_own(tmp_path: Path) -> None:
    """Delta names bigint and int otherwise, also inside of arrays and structs."""
    nested = Column("e", "struct<ids: array<bigint>, int: int, more: array<struct<a: decimal(38,0), bigint: bigint>>>")
    more = pa.list_(pa.struct([("a", pa.decimal128(38, 0)), ("bigint", pa.int64())]))
    kind = pa.struct([("ids", pa.list_(pa.int64())), ("int", pa.int32()), ("more", more)])
    settings = Settings(lake_uri=str(tmp_path))
    table = Table("t", (nested,), (), "")
    write_deltalake(table.uri(settings), pa.table({"e": pa.array([], kind)}))
    table.create(cast(SparkSession, None), settings)
    with pytest.raises(SchemaMismatch, match="Column e of t is struct<ids: array<long>"):
        replace(table, columns=(Column("e", "struct<ids: array<int>>"),)).create(cast(SparkSession, None), settings)
