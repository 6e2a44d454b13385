"""Rows of a Parquet file, whatever types its columns have."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from shop_streams.defs.community.json_files import LINE_LIMIT, Read
from shop_streams.defs.community.parquet_limits import COLUMNS, bytes_of_rows, group_of, leaves_of, parts, texts
from shop_streams.defs.community.rows import (
    LEAVES,
    LISTS,
    OF_A_ROW,
    Event,
    Kind,
    Media,
    Problems,
    Raw,
)
from shop_streams.defs.community.values import Wrong, id_of, number_of, text_of

SHORT = 1_000  # bytes: values up to this length are kept of a row that is too large


class Unreadable(Exception):
    """A file, or a part of it, can't be read; the text says why."""


def is_of_the_disk(error: Exception) -> bool:
    """Whether the disk, the network or this process' limits failed, and not the file: it may be readable the next time.

    A broken file has no error number (or that of an impossible place), and one that may not be read stays so until its rights,
    and its version, change.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL, errno.EACCES, errno.EPERM)


def parquet_rows(file: IO[bytes]) -> Iterator[Read]:
    """The rows of the file, in its order.

    Raises:
        Unreadable: at the beginning, or after the rows of the row groups that could be read.
    """
    try:
        metadata = pq.ParquetFile(file).metadata
        leaves = leaves_of(metadata)
        dictionaries = texts(metadata, leaves)
        parquet = pq.ParquetFile(file, metadata=metadata, read_dictionary=dictionaries, page_checksum_verification=True)
        names = [metadata.schema.column(one).path for one in leaves]
        if not set(COLUMNS).intersection(parquet.schema_arrow.names):
            raise Unreadable(f"it has none of the columns {', '.join(COLUMNS)}")
        if len(parquet.schema_arrow.names) != len(set(parquet.schema_arrow.names)):
            raise Unreadable("it has two columns of one name")
        first, refused = 1, []
        for number in range(metadata.num_row_groups):
            group = group_of(metadata, number, leaves, dictionaries)
            if group.problem:
                refused.append(f"row group {number}, rows {first} to {first + group.rows - 1}, {group.problem}")
            else:
                line = first
                for batch in parquet.iter_batches(group.batch_rows, [number], columns=names, use_threads=False):
                    yield from rows_of(batch, line)
                    line += batch.num_rows
            first += group.rows
    except MemoryError:
        raise  # of this machine, not of the file: the date fails, and is tried again
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError) as error:
        if is_of_the_disk(error):
            raise
        raise Unreadable(f"{type(error).__name__}: {error}"[:300]) from error
    if refused:
        raise Unreadable(f"{len(refused)} row groups are not read. The first: {refused[0]}")


def rows_of(batch: pa.RecordBatch, first: int) -> Iterator[Read]:
    """The batch's rows; `first` is the number of the first one. Of a row above `LINE_LIMIT`, long values are not made."""
    sizes = bytes_of_rows(batch)
    for begin, end in parts(sizes):
        if sizes[begin] > LINE_LIMIT:
            _, raw, _, source = next(_rows(_short(batch.slice(begin, 1)), first + begin))
            yield first + begin, raw, [("body", f"a row with texts and lists of more than {LINE_LIMIT} bytes")], source
        else:
            yield from _rows(batch.slice(begin, end - begin), first + begin)


def _short(row: pa.RecordBatch) -> pa.RecordBatch:
    """The row without its long values: what its dead letter shows, and whose it is."""
    columns = dict(zip(row.schema.names, row.columns, strict=True))
    fields = {
        name: column for name, column in _fields(columns.pop("event", None), "event", {}).items() if _is_short(column)
    }
    kept = {name: column for name, column in columns.items() if _is_short(column)}
    if fields:
        kept["event"] = pa.StructArray.from_arrays([*fields.values()], names=[*fields])
    return pa.RecordBatch.from_pydict(kept or {"event": pa.nulls(1)})


def _is_short(column: Any) -> bool:
    return bool(bytes_of_rows(column)[0] <= SHORT)


def _rows(batch: pa.RecordBatch, first: int) -> Iterator[Read]:
    problems: dict[int, Problems] = {}
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    count = batch.num_rows
    fields = _fields(columns.get("event"), "event", problems)
    values: list[list[Any]] = []
    for name in Event.__struct_fields__:
        column, title = fields.get(name), f"event.{name}"
        if column is None:
            values.append([None] * count)
        elif name == "media":
            values.append(_media(column, problems))
        elif name in LISTS:
            values.append(_lists(column, LISTS[name], title, problems))
        else:
            values.append(_leaves(column, LEAVES[name], title, problems))
    rest = [
        _leaves(columns[name], kind, name, problems) if name in columns else [None] * count
        for name, kind in OF_A_ROW.items()
    ]
    raws = map(Raw, map(Event, *values), *rest)
    for number, raw in enumerate(raws):
        yield first + number, raw, problems.get(number, []), (batch, number)


def _fields(column: Any, title: str, problems: dict[int, Problems]) -> dict[str, Any]:
    """The columns of a struct's fields, null where the struct is null."""
    if column is None or kinds.is_null(column.type):
        return {}
    if not kinds.is_struct(column.type):
        _refuse_all(column, f"is wrong: {_called(column)} where an object belongs", title, problems)
        return {}
    return dict(zip((field.name for field in column.type), column.flatten(), strict=True))


def _media(column: Any, problems: dict[int, Problems]) -> list[Media | None]:
    if column.null_count == len(column):
        return [None] * len(column)
    fields = _fields(column, "event.media", problems)
    nothing = [None] * len(column)
    values = [
        _leaves(fields[name], text_of, f"event.media.{name}", problems) if name in fields else nothing
        for name in Media.__struct_fields__
    ]
    return [
        Media(*pair) if there else None for there, *pair in zip(column.is_valid().to_pylist(), *values, strict=True)
    ]


def _lists(column: Any, kind: Kind, title: str, problems: dict[int, Problems]) -> list[list[Any] | None]:
    """Lists of ids or texts. The elements are typed together, then cut into lists again."""
    if column.null_count == len(column):
        return [None] * len(column)
    if kinds.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if not (kinds.is_list(column.type) or kinds.is_large_list(column.type)):
        _refuse_all(column, f"is wrong: {_called(column)} where a list belongs", title, problems)
        return [None] * len(column)
    lengths = column.value_lengths().to_pylist()
    wrong: dict[int, Problems] = {}
    elements = _leaves(column.flatten(), kind, title, wrong)
    found: list[list[Any] | None] = []
    start = 0
    for row, length in enumerate(lengths):
        if length is None:
            found.append(None)
            continue
        for number in range(start, start + length) if wrong else ():
            for _, words in wrong.get(number, ()):
                problems.setdefault(row, []).append((f"{title}[{number - start}]", words))
        found.append(elements[start : start + length])
        start += length
    return found


def _leaves(column: Any, kind: Kind, title: str, problems: dict[int, Problems]) -> list[Any]:
    """The typed values of a column; a wrong one is null, and a problem of its row."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if column.null_count == len(column):
        return [None] * len(column)
    if kinds.is_dictionary(column.type):
        return _distinct_leaves(column, kind, title, problems)
    if not _readable(column.type):
        _refuse_all(column, f"is wrong: {_called(column)} where {_NAMES[kind]} belongs", title, problems)
        return [None] * len(column)
    is_text = kinds.is_string(column.type) or kinds.is_large_string(column.type) or kinds.is_string_view(column.type)
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        is_text, values = False, column.cast(pa.large_binary()).to_pylist()
    as_declared: dict[Kind, Any] = {
        id_of: kinds.is_signed_integer,
        number_of: kinds.is_float64,
        text_of: lambda _kind: is_text,
    }
    if as_declared[kind](column.type):
        return values
    for row, value in enumerate(values):
        if value is not None:
            try:
                values[row] = kind(value)
            except Wrong as wrong:
                values[row] = None
                problems.setdefault(row, []).append((title, str(wrong)))
    return values


def _distinct_leaves(column: Any, kind: Kind, title: str, problems: dict[int, Problems]) -> list[Any]:
    """`_leaves` of a dictionary. A value is made once, however many rows refer to it."""
    there = np.asarray(column.is_valid())
    used, numbers = np.unique(column.indices.drop_null().to_numpy(), return_inverse=True)
    wrong: dict[int, Problems] = {}
    distinct = _leaves(column.dictionary.take(pa.array(used)), kind, title, wrong)
    values: list[Any] = [None] * len(column)
    for row, number in zip(np.flatnonzero(there).tolist(), numbers.tolist(), strict=True):
        values[row] = distinct[number]
        if number in wrong:
            problems.setdefault(row, []).extend(wrong[number])
    return values


def _called(column: Any) -> str:
    """The type, without the dictionaries that texts are read as."""
    return re.sub(r"dictionary<values=(\w+), [^>]*>", r"\1", str(column.type))


_NAMES: dict[Kind, str] = {id_of: "an id", text_of: "text", number_of: "a number"}


def _readable(kind: pa.DataType) -> bool:
    """Numbers and texts. Times are neither: a writer must write them as text."""
    texts = (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary, kinds.is_fixed_size_binary)
    views = (kinds.is_string_view, kinds.is_binary_view)
    return any(test(kind) for test in (kinds.is_integer, kinds.is_floating, kinds.is_decimal, *texts, *views))


def _refuse_all(column: Any, words: str, title: str, problems: dict[int, Problems]) -> None:
    for row, there in enumerate(column.is_valid().to_pylist()):
        if there:
            problems.setdefault(row, []).append((title, words))
