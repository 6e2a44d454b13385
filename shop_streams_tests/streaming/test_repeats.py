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

from shop_streams.lake import bounded, earlier_ids
from shop_streams.lake.table import Table, hash_name
from shop_streams.settings import Settings
from shop_streams.streaming.repeats import duplicates
from shop_streams_tests.bench.years_lake import uuids

TABLE = Table("repeats", (), ("day",), "", identity="event_id")
HASH = hash_name(TABLE.identity)
HASHES = {"a": 1, "b": -2, "c": 3}  # of streams, each is a number of 64 bits; 42 for a row without an id
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


def write(home: Path, ids: pa.Array, first: int, day: date, hashes: list[int | None] | None = None) -> None:
    """Rows of a day, with offsets from `first` on. Without `hashes`, as an earlier version wrote them."""
    rows = {
        "kafka_partition": pa.array(np.zeros(len(ids), np.int32)),
        "kafka_offset": pa.array(np.arange(first, first + len(ids))),
        "event_id": ids,
        "day": pa.array([day]).take(pa.array(np.zeros(len(ids), np.int64))),
    }
    if hashes is not None:
        rows[HASH] = pa.array(hashes, pa.int64())
    uri = TABLE.uri(Settings(home=home))
    write_deltalake(uri, pa.table(rows), mode="append", schema_mode="merge", partition_by=["day"])


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What DuckDB will read itself: (column, day)."""
    read, create = list[tuple[str, str]](), earlier_ids._create_view

    def create_view(database: Any, view: str, uri: str, column: str, kind: Any, paths: list[str]) -> None:
        read.extend((column, path.partition("/")[0]) for path in paths)
        create(database, view, uri, column, kind, paths)

    monkeypatch.setattr(earlier_ids, "_create_view", create_view)
    return read


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
    """Whether they have hashes or not: here, three have."""
    monkeypatch.setattr(earlier_ids, "FILES_AT_ONCE", files)
    for number in range(6):
        hashes: list[int | None] = [number, 99] * (number + 1)
        write(
            tmp_path,
            pa.array([f"{number}", "a"] * (number + 1)),
            100 * number,
            TODAY,
            hashes if number % 2 else None,
        )
    write(tmp_path, pa.array(["0", "5", "new", "new"]), 900, TODAY, [0, 5, 7, 7])
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (900, 904)}) == 3


def test_the_largest_files_of_the_week_are_read_by_duckdb_however_large_older_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = watched(monkeypatch)
    monkeypatch.setattr(earlier_ids, "FILES_AT_ONCE", 2)
    source = np.random.default_rng(5)
    for number, ago in enumerate((300, 200, 100, 3, 2)):
        write(tmp_path, uuids(source, 1_000 if ago > 7 else 10), 1_000 * number, TODAY - timedelta(days=ago))
    write(tmp_path, pa.array(["new", "new"]), 9_000, TODAY)
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (9_000, 9_002)}) == 1
    assert sorted(day for _, day in read) == ["day=2026-03-07", "day=2026-03-08"]


def test_ids_are_not_read_where_there_are_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A week of ids took 17 s at 200 events a second."""
    read = watched(monkeypatch)
    write(tmp_path, pa.array(["a", "b"]), 0, TODAY - timedelta(days=2))
    write(tmp_path, pa.array(["c", None]), 10, TODAY - timedelta(days=1), [3, 42])
    write(tmp_path, pa.array(["a", "c", "d", None]), 20, TODAY, [1, 3, 4, 42])
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (20, 24)}) == 2
    assert sorted(read) == [("event_id", "day=2026-03-08"), (HASH, "day=2026-03-09")]


def test_a_file_in_which_only_some_rows_have_a_hash_gives_its_ids(tmp_path: Path) -> None:
    """The maintenance merges files of both versions."""
    write(tmp_path, pa.array(["a", "b"]), 0, TODAY, [1, None])
    write(tmp_path, pa.array(["a", "b"]), 20, TODAY, [1, 2])
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (20, 22)}) == 2


def test_an_hour_of_both_versions_is_found_by_its_ids(tmp_path: Path) -> None:
    """A restored row, or one of a stack that was upgraded in this hour, has an older version than rows before it."""
    write(tmp_path, pa.array(["a", "b"]), 0, TODAY, [1, 2])
    write(tmp_path, pa.array(["a"]), 20, TODAY)
    write(tmp_path, pa.array(["b"]), 21, TODAY, [2])
    assert duplicates(TABLE, Settings(home=tmp_path), {0: (20, 22)}) == 2


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
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", "c", None]), st.booleans()), min_size=1, max_size=12
    )
)
def test_the_number_is_that_of_a_count_by_hand(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str | None, bool]]
) -> None:
    """Rows are (days before today, id, with a hash), in the order of their offsets; the last half of them is the hour."""
    home, first = tmp_path_factory.mktemp("repeats"), len(rows) // 2
    for offset, (ago, one, hashed) in enumerate(rows):
        hashes: list[int | None] | None = [HASHES.get(one or "", 42)] if hashed else None
        write(home, pa.array([one], pa.string()), offset, TODAY - timedelta(days=ago), hashes)
    inside = rows[first:]
    days = {ago for ago, one, _ in inside if one}
    known = {
        one for ago, one, _ in rows[:first] if any(0 <= ago - mine <= 7 for mine in days)
    }  # up to a week before one of the hour's days
    expected = 0
    for _ago, one, _hashed in inside:
        expected += one is not None and one in known
        known.add(one)
    assert duplicates(TABLE, Settings(home=home), {0: (first, len(rows))}) == expected
