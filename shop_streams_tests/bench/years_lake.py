"""A lake of years: Parquet files and commits of the Delta log, written directly.

Old days are small and compacted: their number of partitions and files is what costs. The newest days have their full volume.
The running day is one compacted file up to the last full hour, and a file for each minute after it, as the stream leaves it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, Field, Schema
from deltalake.schema import PrimitiveType
from deltalake.transaction import AddAction, RemoveAction

from shop_streams.defs.app_events.marts import day_of, window_versions
from shop_streams.defs.app_events.partitions import WINDOW_FORMAT, WINDOW_HOURS
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.sales.marts import day_versions
from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS
from shop_streams.lake.table import Table, delta_type, hash_name
from shop_streams.settings import Settings

DAY = timedelta(days=1)
SECOND = 1_000_000  # microseconds
AT_ONCE = 1_000_000  # rows of a row group
KAFKA_PARTITIONS = 2
ID = "event_id"
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8).reshape(256, 2)
_LETTERS = [place for place in range(36) if place not in (8, 13, 18, 23)]


@dataclass(frozen=True)
class Years:
    """`days` days up to the moment `now`; the newest `full` ones, the running one included, at `rate` events a second."""

    now: datetime
    days: int = 1096
    rate: float = 200.0
    full: int = 9
    small: int = 800  # events of an older day

    @property
    def today(self) -> date:
        return self.now.date()

    def spans(self) -> Iterator[tuple[date, list[tuple[int, int, int]]]]:
        """Each day with its files: (begin, end, rows), epoch microseconds."""
        for number in range(self.days - 1, -1, -1):
            day = self.today - number * DAY
            start = _midnight(day)
            if number >= self.full:
                yield day, [(start, start + 86_400 * SECOND, self.small)]
            elif number:
                yield day, [(start, start + 86_400 * SECOND, round(86_400 * self.rate))]
            else:
                yield day, self._running(start)

    def _running(self, start: int) -> list[tuple[int, int, int]]:
        minutes = (_micros(self.now) - start) // (60 * SECOND)
        hours = minutes // 60
        merged = [(start, start + hours * 3600 * SECOND, round(hours * 3600 * self.rate))] if hours else []
        return merged + [
            (start + minute * 60 * SECOND, start + (minute + 1) * 60 * SECOND, round(60 * self.rate))
            for minute in range(hours * 60, minutes)
        ]


def _micros(moment: datetime) -> int:
    return round(moment.timestamp()) * SECOND


def _midnight(day: date) -> int:
    return _micros(datetime(day.year, day.month, day.day, tzinfo=UTC))


def uuids(source: np.random.Generator, count: int) -> pa.StringArray:
    """Random UUIDs as text."""
    text = np.full((count, 36), ord("-"), np.uint8)
    text[:, _LETTERS] = _HEX[np.frombuffer(source.bytes(16 * count), np.uint8)].reshape(count, 32)
    ends = np.arange(0, 36 * (count + 1), 36, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(text))


def _column(kind: str, name: str, count: int) -> pa.Array:
    """The same value in each row; Parquet stores it once."""
    values: dict[str, Any] = {"string": pa.scalar(name), "int": pa.scalar(1, pa.int32()), "bigint": pa.scalar(1)}
    return pa.repeat(values[kind] if kind in values else pa.scalar(1, _ARROW[kind]), count)


_ARROW = {
    "string": pa.string(), "int": pa.int32(), "bigint": pa.int64(), "double": pa.float64(), "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"), "decimal(38,0)": pa.decimal128(38, 0),
}  # fmt: skip


class DeltaFiles:
    """Writes files of a table; `commit` makes them the table."""

    def __init__(self, table: Table, settings: Settings) -> None:
        self._table, self._uri = table, table.uri(settings)
        self._key = table.partition_by[0]
        self._types = {one.name: one.type for one in table.columns if one.name != self._key}
        self._actions: list[AddAction | RemoveAction] = []

    def add(self, partition: str, count: int, given: Iterator[Mapping[str, pa.Array]]) -> None:
        """A file of a partition. `given`: parts of the file, with those of its columns that are not constant."""
        folder = f"{self._key}={partition.replace(':', '%3A')}"
        path = Path(self._uri) / folder / f"part-{len(self._actions):06}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        schema = pa.schema([(name, _ARROW[kind]) for name, kind in self._types.items()])
        with pq.ParquetWriter(
            path, schema, use_dictionary=[one for one in schema.names if one not in (ID, hash_name(ID))]
        ) as writer:
            for part in given:
                rows = len(next(iter(part.values())))
                columns = [
                    part[name] if name in part else _column(self._types[name], name, rows) for name in schema.names
                ]
                writer.write_table(pa.table(columns, schema=schema))
        found = pq.read_metadata(path)
        if found.num_rows != count:
            raise ValueError(f"{path} has {found.num_rows} rows instead of {count}")
        self._actions.append(
            AddAction(
                f"{folder}/{path.name}",
                path.stat().st_size,
                {self._key: partition},
                1,
                True,
                json.dumps(_statistics(found)),
            )
        )

    def commit(self) -> None:
        """One commit with all files."""
        fields = [
            Field(one.name, PrimitiveType(delta_type(one.type).replace("(38,0)", "(38, 0)")))
            for one in self._table.columns
        ]
        schema = Schema(fields)
        empty = DeltaTable.create(self._uri, schema, partition_by=[self._key])
        empty.create_write_transaction(self._actions, "append", schema, [self._key])


def _statistics(found: pq.FileMetaData) -> dict[str, Any]:
    """What Spark writes to the log: rows, and the least and greatest values and nulls of each column."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for group in range(found.num_row_groups):
        for number in range(found.num_columns):
            column = found.row_group(group).column(number)
            known, name = column.statistics, column.path_in_schema
            if known is None or not known.has_min_max:
                continue
            nulls[name] = nulls.get(name, 0) + (known.null_count or 0)
            low[name] = min(low.get(name, known.min), known.min)
            high[name] = max(high.get(name, known.max), known.max)
    return {
        "numRecords": found.num_rows,
        "minValues": {name: _json(value) for name, value in low.items()},
        "maxValues": {name: _json(value) for name, value in high.items()},
        "nullCount": nulls,
    }


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value if isinstance(value, (int, float, str)) else str(value)


def stream_table(table: Table, settings: Settings, years: Years) -> int:
    """Write a stream's table; the number of its rows. A record's time is its place in its file; each has a new UUID."""
    source, files, offset = np.random.default_rng(1), DeltaFiles(table, settings), 0

    def parts(start: int, end: int, rows: int, first: int) -> Iterator[Mapping[str, pa.Array]]:
        for begin in range(0, rows, AT_ONCE):
            place = np.arange(begin, min(begin + AT_ONCE, rows))
            times = pa.array(start + place * (end - start) // rows, pa.timestamp("us", "UTC"))
            numbers = first + place
            yield {
                ID: uuids(source, len(place)),
                hash_name(ID): pa.array(source.integers(-(2**63), 2**63, len(place))),  # no id comes twice
                "event_time": times,
                "kafka_partition": pa.array((numbers % KAFKA_PARTITIONS).astype(np.int32)),
                "kafka_offset": pa.array(numbers // KAFKA_PARTITIONS),
            }

    for day, spans in years.spans():
        for start, end, rows in spans:
            files.add(str(day), rows, parts(start, end, rows, offset))
            offset += rows
    files.commit()
    return offset


def window_rows(years: Years) -> dict[str, int]:
    """Window of app_events -> its number of rows, as `stream_table` writes them."""
    length, found = WINDOW_HOURS * 3600 * SECOND, dict[str, int]()
    for _, spans in years.spans():
        for start, end, rows in spans:
            times = start + np.arange(rows) * (end - start) // rows
            for number, count in zip(*np.unique(times // length, return_counts=True), strict=True):
                key = datetime.fromtimestamp(int(number) * WINDOW_HOURS * 3600, UTC).strftime(WINDOW_FORMAT)
                found[key] = found.get(key, 0) + int(count)
    return found


def marts(settings: Settings, years: Years) -> None:
    """Both marts as computed from these tables, up to the last window and day that have ended."""
    rows = window_rows(years)
    days: dict[str, int] = {}
    for window, count in rows.items():
        days[day_of(window)] = days.get(day_of(window), 0) + count
    versions, files = window_versions(rows, days, {}), DeltaFiles(ENRICHED, settings)
    for window in sorted(rows)[:-1]:
        count = rows[window]
        parts = (
            {"source_rows": pa.repeat(versions[window], min(AT_ONCE, count - begin))}
            for begin in range(0, count, AT_ONCE)
        )
        files.add(window, count, parts)
    files.commit()
    hourly = DeltaFiles(HOURLY, settings)
    for day, version in sorted(day_versions(days, days, 0).items())[:-1]:
        first = _midnight(date.fromisoformat(day)) // SECOND
        starts = pa.array(first + np.arange(24) * 3600)
        hourly.add(day, 24, iter([{"start_ts": starts, "source_rows": pa.repeat(version, 24)}]))
    hourly.commit()


def make_lake(settings: Settings, years: Years) -> int:
    """Both domains' tables and marts; the number of rows of each stream's table."""
    stream_table(SHOP_EVENTS, settings, years)
    rows = stream_table(EVENTS, settings, years)
    marts(settings, years)
    return rows
