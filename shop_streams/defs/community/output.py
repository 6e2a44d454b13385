"""What the workers give back of the files that they read: Arrow batches of valid rows, of dead letters and of counts.

The result has three kinds of rows (`RESULT`): a valid row has an `event_id`, a refused one a `reason`, and the counts of a
date have `files`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from shop_streams.defs.community.rows import Event, Media, Raw, Row
from shop_streams.defs.community.schema import STG_EVENTS

LETTERS_OF_A_FILE = 1_000  # the next one says how many more there are
LETTERS_OF_A_TASK = 5_000  # then a file has one that says how many there are
RAW_LIMIT = 4_096  # bytes of a refused row that are kept
ROWS_AT_ONCE = 5_000
BYTES_AT_ONCE = 16 * 1_048_576  # of rows and letters: a text that is in memory once may be in thousands of rows
DAY = 86_400_000_000  # microseconds
UNREADABLE = "the file can't be read: "

RESULT = ", ".join(
    [
        *(f"{one.name} {one.type}" for one in STG_EVENTS.columns if one.name != "source_rows"),
        "raw binary, reason string, files bigint, rows bigint, refused bigint",
    ]
)

_TEXTS, _IDS = pa.list_(pa.string()), pa.list_(pa.int64())
_TEXT_FIELDS = ("datetime", "message", "message_ts", "reaction_from", "reaction_type", "subscription_user", "user")
_MEDIA = pa.struct([(name, pa.string()) for name in Media.__struct_fields__])
_SPECIAL = {"admins": _IDS, "tags": _TEXTS, "media": _MEDIA} | dict.fromkeys(_TEXT_FIELDS, pa.string())
_EVENT = pa.struct([(name, _SPECIAL.get(name, pa.int64())) for name in Event.__struct_fields__])
_TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("event", _EVENT), ("event_type", pa.string()), ("lat", pa.float64()), ("lon", pa.float64()),
        ("event_id", pa.string()), ("user_id", pa.int64()), ("event_time", _TIME), ("event_date", pa.date32()),
        ("file", pa.string()), ("line", pa.int64()), ("folder_date", pa.date32()),
        ("raw", pa.binary()), ("reason", pa.string()),
        ("files", pa.int64()), ("rows", pa.int64()), ("refused", pa.int64()),
    ]
)  # fmt: skip


class File(NamedTuple):
    """A delivered file: its path, its name below the landing folder, and what the listing saw of it (time in nanoseconds)."""

    path: bytes
    file: str
    folder_date: date
    size: int
    modified: int


@dataclass
class Output:
    """What a task has read: rows and letters that are not yet written, and counts of each date."""

    rows: list[tuple[Row, int, str, date]] = field(default_factory=list)
    letters: list[tuple[str, int | None, date, bytes | None, str]] = field(default_factory=list)
    counts: dict[date, list[int]] = field(default_factory=dict)  # files, rows, refused rows
    written: int = 0
    size: int = 0  # bytes of these rows and letters
    _file: File | None = None
    _rows: int = 0
    _refused: int = 0
    _letters: int = 0
    _next: tuple[int, bytes | None, str] | None = None

    @property
    def full(self) -> bool:
        many = len(self.rows) >= ROWS_AT_ONCE or len(self.letters) >= LETTERS_OF_A_FILE
        return many or self.size >= BYTES_AT_ONCE

    def begin(self, one: File) -> None:
        self._file, self._rows, self._refused, self._letters, self._next = one, 0, 0, 0, None

    def add(self, line: int, row: Row) -> None:
        assert self._file is not None
        self._rows += 1
        self.size += row.size
        self.rows.append((row, line, self._file.file, self._file.folder_date))

    def refuse(self, line: int, reason: str, source: Any) -> None:
        self._refused += 1
        if self._letters < LETTERS_OF_A_FILE and self.written < LETTERS_OF_A_TASK:
            self._letters += 1
            self.written += 1
            self._letter(line, shown(source), reason)
        elif self._next is None:
            self._next = (line, shown(source), reason)

    def unreadable(self, why: str) -> None:
        self._letter(None, None, f"{UNREADABLE}{why}")

    def finish(self) -> None:
        assert self._file is not None
        if self._next is not None:
            line, raw, reason = self._next
            more = self._refused - self._letters
            self._letter(line, raw, f"the first of {more} more refused rows of this file: {reason}")
        counts = self.counts.setdefault(self._file.folder_date, [0, 0, 0])
        for number, more in enumerate((1, self._rows, self._refused)):
            counts[number] += more

    def _letter(self, line: int | None, raw: bytes | None, reason: str) -> None:
        assert self._file is not None
        self.size += len(raw or b"") + len(reason)
        self.letters.append((self._file.file, line, self._file.folder_date, raw, reason))

    def flush(self) -> Iterator[pa.RecordBatch]:
        if self.rows:
            yield _valid(self.rows)
        if self.letters:
            yield _batch(
                dict(
                    zip(("file", "line", "folder_date", "raw", "reason"), zip(*self.letters, strict=True), strict=True)
                )
            )
        self.rows, self.letters, self.size = [], [], 0

    def end(self) -> Iterator[pa.RecordBatch]:
        yield from self.flush()
        if self.counts:
            columns = dict(zip(("files", "rows", "refused"), zip(*self.counts.values(), strict=True), strict=True))
            yield _batch({"folder_date": list(self.counts), **columns})


def shown(source: Any) -> bytes:
    """What a dead letter keeps of a row: the beginning of its line, or of the JSON of a Parquet row."""
    if isinstance(source, bytes):
        return source[:RAW_LIMIT]
    batch, number = source
    try:
        return msgspec.json.encode(batch.slice(number, 1).to_pylist()[0], enc_hook=str)[:RAW_LIMIT]
    except (ValueError, TypeError, OverflowError, msgspec.MsgspecError, pa.ArrowException) as error:
        return f"values that have no text: {error}".encode(errors="replace")[:RAW_LIMIT]


def _valid(rows: Sequence[tuple[Row, int, str, date]]) -> pa.RecordBatch:
    found, lines, files, dates = zip(*rows, strict=True)
    raws, ids, users, times, _ = zip(*found, strict=True)
    events = [raw.event for raw in raws]
    at = pa.array(times, pa.int64())
    return _batch(
        {
            "event": _struct(events, _EVENT),
            **{name: [getattr(raw, name) for raw in raws] for name in Raw.__struct_fields__[1:]},
            "event_id": ids,
            "user_id": users,
            "event_time": at.cast(_TIME),
            "event_date": pa.array([moment // DAY for moment in times], pa.int32()).cast(pa.date32()),
            "file": files,
            "line": lines,
            "folder_date": dates,
        }
    )


def _struct(values: Sequence[Any], kind: pa.StructType) -> pa.Array:
    """Objects as structs, with the fields of `kind` in their order."""
    count, there = len(values), [value is not None for value in values]
    if not any(there):
        return pa.nulls(count, kind)
    names = [one.name for one in kind]
    nothing = (None,) * len(names)
    fields = attrgetter(*names)
    columns = zip(*(nothing if value is None else fields(value) for value in values), strict=True)
    arrays = [
        _struct(column, one.type) if pa.types.is_struct(one.type) else pa.array(column, one.type)
        for column, one in zip(columns, kind, strict=True)
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=pa.array([not one for one in there]))


def _batch(columns: dict[str, Any]) -> pa.RecordBatch:
    """A batch with the columns of `SCHEMA`; those that are not given are null."""
    count = len(next(iter(columns.values())))
    arrays = []
    for one in SCHEMA:
        given = columns.get(one.name)
        if given is None:
            arrays.append(pa.nulls(count, one.type))
        else:
            arrays.append(given if isinstance(given, pa.Array) else pa.array(given, one.type))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
