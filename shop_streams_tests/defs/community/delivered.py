"""Delivered files of the tests, and what the reader makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shop_streams.defs.community.output import File
from shop_streams.defs.community.reading import Reader
from shop_streams.rules import times_at

DAY = date(2026, 1, 2)
NOW = datetime(2026, 1, 3, tzinfo=UTC)
TIMES = times_at("2015-01-01", NOW)

EVENT = pa.struct(
    [
        ("admins", pa.list_(pa.int64())), ("channel_id", pa.int64()), ("datetime", pa.string()),
        ("media", pa.struct([("media_type", pa.string()), ("src", pa.string())])), ("message", pa.string()),
        ("message_channel_to", pa.int64()), ("message_from", pa.int64()), ("message_group", pa.int64()),
        ("message_id", pa.int64()), ("message_to", pa.int64()), ("message_ts", pa.string()),
        ("reaction_from", pa.string()), ("reaction_type", pa.string()), ("subscription_channel", pa.int64()),
        ("subscription_user", pa.string()), ("tags", pa.list_(pa.string())), ("user", pa.string()),
    ]
)  # fmt: skip
RAW = pa.schema([("event", EVENT), ("event_type", pa.string()), ("lat", pa.float64()), ("lon", pa.float64())])


def message(**event: Any) -> dict[str, Any]:
    """A valid message of user 7, with changes in its event."""
    return {
        "event": {"message_from": 7, "message_to": 8, "message_id": 1, "datetime": "2026-01-01 10:00:00"} | event,
        "event_type": "message", "lat": 55.75, "lon": 37.5,
    }  # fmt: skip


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return path


def write_parquet(path: Path, table: pa.Table | Sequence[Mapping[str, Any]], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    known = table if isinstance(table, pa.Table) else pa.Table.from_pylist(list(table), schema=RAW)
    pq.write_table(known, path, **options)
    return path


def listed(path: Path, root: Path) -> File:
    """The file as the listing of the landing folder `root` gives it."""
    now = path.stat()
    return File(str(path).encode(), str(path.relative_to(root)), DAY, now.st_size, now.st_mtime_ns)


def read(*paths: Path, root: Path) -> pa.Table:
    """What a task makes of the files."""
    rows = [dict(zip(File._fields, listed(path, root), strict=True)) for path in paths]
    batches = Reader(str(root.resolve()), TIMES).batches(iter([pa.RecordBatch.from_pylist(rows)]))
    return pa.Table.from_batches(list(batches))


def valid(table: pa.Table) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["event_id"] is not None]


def refused(table: pa.Table) -> list[tuple[int | None, str]]:
    """(line, reason) of each letter."""
    return [(row["line"], row["reason"]) for row in table.to_pylist() if row["reason"] is not None]


def counts(table: pa.Table) -> dict[str, int]:
    """Files, rows and refused rows of all dates."""
    found = [row for row in table.to_pylist() if row["files"] is not None]
    return {name: sum(row[name] for row in found) for name in ("files", "rows", "refused")}
