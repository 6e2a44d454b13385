"""Repeats of a week with more ids than fit into memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.lake import bounded
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.repeats import duplicates
from shop_streams_tests.bench.years_lake import uuids

TABLE = Table("repeats", (), ("day",), "", identity="event_id")
TODAY = date(2026, 3, 10)


@contextmanager
def counted() -> Iterator[pa.MemoryPool]:
    """A memory pool that knows the most memory that Arrow had at once in this context."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)


def write(home: Path, ids: pa.Array, first: int, day: date) -> None:
    """Rows of a day, with offsets from `first` on."""
    rows = {
        "kafka_partition": pa.array(np.zeros(len(ids), np.int32)),
        "kafka_offset": pa.array(np.arange(first, first + len(ids))),
        "event_id": ids,
        "day": pa.array([day]).take(pa.array(np.zeros(len(ids), np.int64))),
    }
    write_deltalake(TABLE.uri(Settings(home=home)), pa.table(rows), mode="append", partition_by=["day"])


def test_only_the_ids_of_the_hour_are_kept_in_memory(tmp_path: Path) -> None:
    source, size = np.random.default_rng(3), 150_000
    for number in range(1, 8):
        ids = uuids(source, size)
        write(tmp_path, ids, number * size, TODAY - timedelta(days=number))
    hour = pa.concat_arrays([ids.slice(0, 700), uuids(source, 5_000), ids.slice(0, 300)])
    write(tmp_path, hour, 10 * size, TODAY)
    week = 7 * size * 36  # bytes of its ids
    with counted() as pool:
        assert duplicates(TABLE, Settings(home=tmp_path), {0: (10 * size, 10 * size + len(hour))}) == 1_000
    assert 0 < pool.max_memory() < week / 2


def test_an_hour_with_more_ids_than_memory_is_counted_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MEMORY", "24MB")
    ids = uuids(np.random.default_rng(4), 600_000)  # 22 MB, without the hash tables
    write(tmp_path, ids.slice(0, 100_000), 0, TODAY)
    write(tmp_path, ids, 200_000, TODAY)
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (200_000, 800_000)}) == 100_000


@pytest.mark.parametrize("files", [0, 2, 100])
def test_of_many_files_only_some_are_read_by_duckdb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    monkeypatch.setattr(bounded, "FILES_AT_ONCE", files)
    for number in range(6):
        write(tmp_path, pa.array([f"{number}", "a"] * (number + 1)), 100 * number, TODAY)
    write(tmp_path, pa.array(["0", "5", "new", "new"]), 900, TODAY)
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (900, 904)}) == 3


def test_the_largest_files_of_the_week_are_read_by_duckdb_however_large_older_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    create_ids = bounded._create_ids

    def spied(database: Any, view: str, uri: str, column: str, paths: list[str]) -> None:
        read.extend(paths)
        create_ids(database, view, uri, column, paths)

    monkeypatch.setattr(bounded, "FILES_AT_ONCE", 2)
    monkeypatch.setattr(bounded, "_create_ids", spied)
    source = np.random.default_rng(5)
    for number, ago in enumerate((300, 200, 100, 3, 2)):
        write(tmp_path, uuids(source, 1_000 if ago > 7 else 10), 1_000 * number, TODAY - timedelta(days=ago))
    write(tmp_path, pa.array(["new", "new"]), 9_000, TODAY)
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (9_000, 9_002)}) == 1
    assert sorted(path.partition("/")[0] for path in read) == ["day=2026-03-07", "day=2026-03-08"]


def test_files_of_a_version_without_the_column_have_no_ids(tmp_path: Path) -> None:
    uri = TABLE.uri(Settings(home=tmp_path))
    old = pa.table({"kafka_partition": pa.array([0], pa.int32()), "kafka_offset": [0], "day": pa.array([TODAY])})
    write_deltalake(uri, old, partition_by=["day"])
    rows = old.set_column(1, "kafka_offset", pa.array([1])).append_column("event_id", pa.array(["a"]))
    write_deltalake(uri, rows, mode="append", schema_mode="merge", partition_by=["day"])
    write(tmp_path, pa.array(["a", "b"]), 2, TODAY)
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (1, 2)}) == 0, "of the files before it, none has the column"
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (2, 4)}) == 1


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", "c", None])), min_size=1, max_size=12))
def test_the_number_is_that_of_a_count_by_hand(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str | None]]
) -> None:
    """Rows are (days before today, id), in the order of their offsets; the last half of them is the hour."""
    home, first = tmp_path_factory.mktemp("repeats"), len(rows) // 2
    for offset, (ago, one) in enumerate(rows):
        write(home, pa.array([one], pa.string()), offset, TODAY - timedelta(days=ago))
    inside = rows[first:]
    days = {ago for ago, one in inside if one}
    known = {
        one for ago, one in rows[:first] if any(0 <= ago - mine <= 7 for mine in days)
    }  # up to a week before one of the hour's days
    expected = 0
    for _ago, one in inside:
        expected += one is not None and one in known
        known.add(one)
    assert duplicates(TABLE, Settings(home=home), {0: (first, len(rows))}) == expected
