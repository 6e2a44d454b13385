"""Tables are read without a JVM: one partition of many opens the files of that partition alone."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from shop_streams.lake import reader
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Column, Table
from shop_streams.settings import Settings

HALF_HOURS = [f"2026-11-26-{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 30)]
DAYS = [date(2026, 1, number) for number in range(1, 20)]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of files in each dataset that was opened."""
    found: list[int] = []
    open_dataset = DeltaTable.to_pyarrow_dataset

    def counting(table: DeltaTable, **more: Any) -> Any:
        dataset = open_dataset(table, **more)
        found.append(len(dataset.files))
        return dataset

    monkeypatch.setattr(DeltaTable, "to_pyarrow_dataset", counting)
    yield found


def written(settings: Settings, keys: list[Any]) -> Table:
    """Two rows in each partition; the second has no value."""
    table = Table("many", (Column("key", ""), Column("value", "bigint")), ("key",), "")
    rows = {"key": [key for key in keys for _ in (0, 1)], "value": [one for n in range(len(keys)) for one in (n, None)]}
    write_deltalake(table.uri(settings), pa.table(rows), partition_by=["key"])
    return table


@pytest.mark.parametrize("keys", [HALF_HOURS, DAYS], ids=["texts", "dates"])
def test_a_partition_is_read_alone(tmp_path: Path, opened: list[int], keys: list[Any]) -> None:
    settings = Settings(home=tmp_path)
    lake, table = Lake(settings), written(settings, keys)
    seventh, last, absent = str(keys[7]), str(keys[-1]), str(keys[0]).replace("20", "19", 1)
    rows = lake.first_rows(table, [seventh, last, absent], 10)
    assert rows[seventh].to_pylist() == [{"key": keys[7], "value": 7}, {"key": keys[7], "value": None}]
    assert (rows[last].num_rows, rows[absent].num_rows) == (2, 0)
    assert lake.first_rows(table, [last], 1)[last].num_rows == 1
    assert lake.scan(table, ["value"], keys=[seventh]).to_pylist() == [{"value": 7}, {"value": None}]
    assert opened == [2, 1, 1]
    assert lake.first_rows(Table("none", (), ("key",), ""), ["x"], 10)["x"].num_rows == 0


def test_the_first_rows_of_a_partition_of_several_files(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    table = written(settings, ["a"])
    for n in (7, 8):
        write_deltalake(table.uri(settings), pa.table({"key": ["a"], "value": [n]}), mode="append")
    first = Lake(settings).first_rows(table, ["a"], 3)["a"]
    assert first.num_rows == 3 and set(first["value"].to_pylist()) <= {0, None, 7, 8}
    assert Lake(settings).first_rows(table, ["a"], 9)["a"].num_rows == 4


@pytest.mark.parametrize("keys", [HALF_HOURS, DAYS], ids=["texts", "dates"])
def test_the_first_rows_open_as_few_files_as_they_need(tmp_path: Path, opened: list[int], keys: list[Any]) -> None:
    settings = Settings(home=tmp_path)
    uri = written(settings, keys).uri(settings)
    whole = reader.head(uri, 10**6)
    assert whole is not None and whole.row_count == len(whole.rows) == 2 * len(keys)
    for limit in (0, 1, 3, 10):
        found = reader.head(uri, limit)
        assert found is not None and (found.rows, found.row_count) == (whole.rows[:limit], 2 * len(keys))
    assert opened == [len(keys), 1, 1, 2, 5]


def test_rows_without_a_partition_value_are_found_too(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    uri = written(settings, ["a", None]).uri(settings)
    found = reader.head(uri, 10)
    assert found is not None and {row["key"] for row in found.rows} == {"a", None} and len(found.rows) == 4


def test_a_table_with_nested_columns_is_shown(tmp_path: Path) -> None:
    kind = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
    headers = [[{"key": "event_id", "value": b"1"}, {"key": "none", "value": None}], None, []]
    rows = pa.table({"headers": pa.array(headers, kind), "key": pa.array([b"k", None, b""], pa.binary())})
    write_deltalake(str(tmp_path), rows)
    found = reader.head(str(tmp_path), 10)
    assert found is not None and [row["headers"] for row in found.rows] == headers
