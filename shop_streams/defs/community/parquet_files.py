"""Rows of a Parquet file, whatever types its columns have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from shop_streams.defs.community.json_files import Read
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

COLUMNS = ("event", *OF_A_ROW)
GROUP_LIMIT = 512 * 1_048_576  # bytes of a row group, uncompressed, as its metadata declare them
CELLS_LIMIT = 2_000_000_000  # values of a row group: runs of equal values take no bytes
BATCH_ROWS = 2_000  # a value that the dictionary holds once may be in every row


class Unreadable(Exception):
    """A file, or a part of it, can't be read; the text says why."""


def parquet_rows(file: IO[bytes]) -> Iterator[Read]:
    """The rows of the file, in its order.

    Raises:
        Unreadable: at the beginning, or after the rows of the row groups that could be read.
    """
    try:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        names = [name for name in COLUMNS if name in parquet.schema_arrow.names]
        if not names:
            raise Unreadable(f"it has none of the columns {', '.join(COLUMNS)}")
        if len(parquet.schema_arrow.names) != len(set(parquet.schema_arrow.names)):
            raise Unreadable("it has two columns of one name")
        first, refused = 1, []
        for number in range(parquet.metadata.num_row_groups):
            rows, problem = _sane(parquet.metadata.row_group(number))
            if problem:
                refused.append(f"row group {number}, rows {first} to {first + rows - 1}, {problem}")
            else:
                line = first
                for batch in parquet.iter_batches(BATCH_ROWS, [number], columns=names, use_threads=False):
                    yield from rows_of(batch, line)
                    line += batch.num_rows
            first += rows
    except MemoryError:
        raise  # of this machine, not of the file: the date fails, and is tried again
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}"[:300]) from error
    if refused:
        raise Unreadable(f"{len(refused)} row groups are not read. The first: {refused[0]}")


def _sane(group: Any) -> tuple[int, str]:
    """The number of rows of a row group, and why it must not be read, or ""."""
    declared = [group.column(number) for number in range(group.num_columns)]
    declared = [one for one in declared if one.path_in_schema.split(".")[0] in COLUMNS]
    size = sum(one.total_uncompressed_size for one in declared)
    if group.num_rows < 0 or any(one.total_uncompressed_size < 0 for one in declared):
        return max(0, group.num_rows), "declares a negative size"
    if size > GROUP_LIMIT:
        return group.num_rows, f"declares {size} bytes, more than {GROUP_LIMIT}"
    cells = max(group.num_rows * len(declared), sum(one.num_values for one in declared))
    return group.num_rows, f"declares {cells} values, more than {CELLS_LIMIT}" if cells > CELLS_LIMIT else ""


def rows_of(batch: pa.RecordBatch, first: int) -> Iterator[Read]:
    """The batch's rows; `first` is the number of the first one."""
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
        _refuse_all(column, f"is wrong: {column.type} where an object belongs", title, problems)
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
        _refuse_all(column, f"is wrong: {column.type} where a list belongs", title, problems)
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
    if kinds.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count == len(column):
        return [None] * len(column)
    if not _readable(column.type):
        _refuse_all(column, f"is wrong: {column.type} where {_NAMES[kind]} belongs", title, problems)
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
