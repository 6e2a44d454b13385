"""Maintenance reaches every table that we write."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.defs.domains import LAKE_STREAMS, TABLES
from shop_streams.defs.platform import maintenance
from shop_streams.lake import reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS

STREAMED = {spec.sink.table for spec in LAKE_STREAMS}


def write(table: Table, settings: Settings, partition: str) -> None:
    rows = {
        "topic": pa.array(["t"]), "kafka_partition": pa.array([0]), "kafka_offset": pa.array([1]),
        "at": pa.array([datetime.now(UTC)], pa.timestamp("us", "UTC")), table.partition_by[0]: pa.array([partition]),
    }  # fmt: skip
    write_deltalake(table.uri(settings), pa.table(rows), mode="append", partition_by=list(table.partition_by))


def test_every_table_is_maintained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path)
    today, tables = str(datetime.now(UTC).date()), (*TABLES, DEAD_LETTERS)
    orphans = []
    for table in tables:
        for partition in ("2026-01-01", "2026-01-01", today, today):
            write(table, settings, partition)
        orphans.append(Path(table.uri(settings)) / "orphan.parquet")
        orphans[-1].write_bytes(b"of a write that was killed")
        os.utime(orphans[-1], (time.time() - 8 * 86_400,) * 2)
    monkeypatch.setattr(maintenance, "offset_ranges", lambda _servers, _topic: {0: (0, 1)})
    maintenance.maintain_tables(dg.build_op_context(resources={"settings": settings}))
    assert [orphan for orphan in orphans if orphan.exists()] == []
    for table in tables:
        files = reader.file_counts(table.uri(settings), table.partition_by[0])
        closed, live = (1, 2) if table in STREAMED else (1, 1) if table == DEAD_LETTERS else (2, 2)
        assert files == {"2026-01-01": closed, today: live}, table.path


def test_a_day_with_many_files_is_compacted_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, table = Settings(home=tmp_path), LAKE_STREAMS[0].sink.table
    assert table is not None
    monkeypatch.setattr(maintenance, "MANY_FILES", 3)
    today = str(datetime.now(UTC).date())
    for partition in ("2026-01-01", *[today] * 4):
        write(table, settings, partition)
    write(table, settings, "2026-01-01")
    assert maintenance.compact_crowded(settings) == {table.path: [today]}
    assert reader.file_counts(table.uri(settings), table.partition_by[0]) == {"2026-01-01": 2, today: 1}
    assert reader.row_counts(table.uri(settings), table.partition_by[0]) == {"2026-01-01": 2, today: 4}
    assert maintenance.compact_crowded(settings) == {}
