"""Maintenance leaves every row, count and stream where it was."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from shop_streams.lake import reader
from shop_streams.lake.maintenance import expire, maintain

WRITER = "stream-1"


def many_small_files(folder: Path) -> str:
    uri = str(folder / "table")
    for batch in range(6):
        rows = pa.table({"id": [2 * batch, 2 * batch + 1], "day": ["2026-01-01", "2026-01-02"]})
        committed = CommitProperties(app_transactions=[Transaction(WRITER, batch)])
        write_deltalake(uri, rows, partition_by=["day"], mode="append", commit_properties=committed)
    return uri


def test_only_closed_days_are_compacted_and_nothing_else_changes(tmp_path: Path) -> None:
    uri = many_small_files(tmp_path)
    before = reader.row_counts(uri, "day")
    done = maintain(uri, "day", ["2026-01-01"], readers_hours=0)
    assert (done.files_before, done.files_after) == (12, 7)
    assert reader.file_counts(uri, "day") == {"2026-01-01": 1, "2026-01-02": 6}
    assert reader.row_counts(uri, "day") == before == {"2026-01-01": 6, "2026-01-02": 6}
    table = DeltaTable(uri)
    assert sorted(table.to_pyarrow_table()["id"].to_pylist()) == list(range(12))
    assert table.transaction_version(WRITER) == 5, "the stream's place is in the log still: no batch is written twice"


def test_files_that_no_reader_may_need_any_more_are_gone(tmp_path: Path) -> None:
    uri = many_small_files(tmp_path)
    maintain(uri, "day", ["2026-01-01"], readers_hours=168)
    assert len(list(tmp_path.rglob("*.parquet"))) == 13, "a reader of last week's version still finds its files"
    maintain(uri, "day", ["2026-01-01"], readers_hours=0)
    assert len(list(tmp_path.rglob("*.parquet"))) == 7


def age_all(folder: Path, days: int) -> None:
    then = time.time() - 86_400 * days
    for file in folder.rglob("*.parquet"):
        os.utime(file, (then, then))


def test_files_that_the_log_does_not_name_go_once_they_are_old_and_a_week_can_be_read(tmp_path: Path) -> None:
    uri = many_small_files(tmp_path)
    orphan = Path(uri) / "day=2026-01-01" / "of-a-write-that-was-killed.parquet"
    orphan.write_bytes(b"old")
    age_all(tmp_path, days=30)
    young = orphan.with_name("of-a-write-that-is-not-committed-yet.parquet")
    young.write_bytes(b"new")
    version = DeltaTable(uri).version()
    done = maintain(uri, "day", ["2026-01-01"], readers_hours=168)
    assert (done.files_deleted, orphan.exists(), young.exists()) == (1, False, True)
    before = DeltaTable(uri, version=version).to_pyarrow_table()  # their files are old, their removal is of today
    assert sorted(before["id"].to_pylist()) == list(range(12))


def test_a_removal_that_a_checkpoint_has_dropped_from_the_log_is_found(tmp_path: Path) -> None:
    uri = many_small_files(tmp_path)
    DeltaTable(uri).alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 seconds"})
    maintain(uri, "day", ["2026-01-01"], readers_hours=168)
    DeltaTable(uri).create_checkpoint()
    for commit in sorted((Path(uri) / "_delta_log").glob("*.json"))[:-1]:
        commit.unlink()
    assert len(list(tmp_path.rglob("*.parquet"))) == 14, "one of them is the checkpoint"
    age_all(Path(uri), days=8)
    assert maintain(uri, "day", [], readers_hours=168).files_deleted == 6
    assert sorted(DeltaTable(uri).to_pyarrow_table()["id"].to_pylist()) == list(range(12))


def test_a_table_that_is_not_there_yet_needs_no_maintenance(tmp_path: Path) -> None:
    assert maintain(str(tmp_path / "none"), "day", [], 0).files_before == 0
    assert expire(str(tmp_path / "none"), "at", 1, "true") == 0


def test_rows_expire_by_age_and_condition(tmp_path: Path) -> None:
    uri = str(tmp_path / "letters")
    now = datetime.now(UTC)
    times = pa.array([now - timedelta(days=days) for days in (100, 95, 10, 0)], pa.timestamp("us", "UTC"))
    write_deltalake(uri, pa.table({"offset": [1, 2, 3, 4], "at": times}))
    assert expire(uri, "at", 90, "offset <> 2") == 1
    assert sorted(DeltaTable(uri).to_pyarrow_table()["offset"].to_pylist()) == [2, 3, 4]
