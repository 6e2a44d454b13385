"""What a Parquet file may hold: bounds of row groups, batches and rows, so that no file exhausts a worker's memory.

Encodings multiply values. A dictionary holds a text once, and any number of rows refer to it. DELTA_BYTE_ARRAY repeats the
beginning of the text before. So a file of 100 kB may hold rows of terabytes. Texts are therefore read as dictionaries, and
the bytes of each row are counted before its values are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from shop_streams.defs.community.json_files import LINE_LIMIT
from shop_streams.defs.community.rows import OF_A_ROW, Event

COLUMNS = ("event", *OF_A_ROW)
GROUP_LIMIT = (
    512 * 1_048_576
)  # bytes of a row group, uncompressed, as its metadata declare them; and of a decoded batch
CELLS_LIMIT = 2_000_000_000  # values of a row group: runs of equal values take no bytes
BATCH_ROWS = 2_000
PART_BYTES = 4 * 1_048_576  # of the rows whose Python values are made at once
ELEMENT_BYTES = 2  # an element of a list is at least a digit and a comma in JSON
_WIDTHS = {
    "BOOLEAN": 1,
    "INT32": 4,
    "FLOAT": 4,
    "BYTE_ARRAY": 4,
}  # bytes of a decoded value; of a text, those beside the text
_MULTIPLIES = {"DELTA_BYTE_ARRAY", "RLE_DICTIONARY", "PLAIN_DICTIONARY"}


class Group(NamedTuple):
    """A row group: its rows, how many of them are read at once, and why it must not be read, or ""."""

    rows: int
    batch_rows: int
    problem: str


def leaves_of(metadata: Any) -> list[int]:
    """The numbers of the Parquet columns that are read."""
    schema, arrow = metadata.schema, metadata.schema.to_arrow_schema()
    has_fields = "event" in arrow.names and kinds.is_struct(arrow.field("event").type)

    def is_read(path: str) -> bool:
        """Of `event`, only the fields that we know: others may hold anything."""
        name, *fields = path.split(".")
        return fields[0] in Event.__struct_fields__ if name == "event" and has_fields else name in COLUMNS

    return [one for one in range(metadata.num_columns) if is_read(schema.column(one).path)]


def texts(metadata: Any, leaves: list[int]) -> list[str]:
    """The paths of the columns that Arrow can read as dictionaries: texts and bytes whose values are stored whole."""
    schema = metadata.schema
    groups = [metadata.row_group(one) for one in range(metadata.num_row_groups)]
    return [
        schema.column(one).path
        for one in leaves
        if schema.column(one).physical_type == "BYTE_ARRAY"
        and schema.column(one).logical_type.type != "DECIMAL"
        and not any(code.startswith("DELTA") for group in groups for code in group.column(one).encodings)
    ]


def group_of(metadata: Any, number: int, leaves: list[int], dictionaries: list[str]) -> Group:
    """How a row group is read: the columns `leaves`, and those whose paths are `dictionaries` as dictionaries."""
    group, schema = metadata.row_group(number), metadata.schema
    declared = [group.column(one) for one in leaves]
    size, rows = sum(one.total_uncompressed_size for one in declared), max(0, group.num_rows)
    if group.num_rows < 0 or any(one.total_uncompressed_size < 0 for one in declared):
        return Group(rows, 0, "declares a negative size")
    if size > GROUP_LIMIT:
        return Group(rows, 0, f"declares {size} bytes, more than {GROUP_LIMIT}")
    cells = max(rows * len(declared), sum(one.num_values for one in declared))
    if cells > CELLS_LIMIT:
        return Group(rows, 0, f"declares {cells} values, more than {CELLS_LIMIT}")
    of_a_row = 1
    for one, column in zip(leaves, declared, strict=True):
        shape = schema.column(one)
        width = _WIDTHS.get(shape.physical_type, 8)
        if shape.physical_type == "FIXED_LEN_BYTE_ARRAY":
            width = shape.length
        elif (
            shape.physical_type == "BYTE_ARRAY"
            and shape.path not in dictionaries
            and not _MULTIPLIES.isdisjoint(column.encodings)
        ):
            width = max(width, column.total_uncompressed_size)  # any value may be as long as all of them
        # One row may have all elements of its row group.
        most = column.num_values * width if shape.max_repetition_level else width
        if most > GROUP_LIMIT:
            codes = ", ".join(column.encodings)
            return Group(rows, 0, f"may have {most} bytes of {shape.path} in a row ({codes}), more than {GROUP_LIMIT}")
        of_a_row += 0 if shape.max_repetition_level else width
    return Group(rows, max(1, min(BATCH_ROWS, GROUP_LIMIT // of_a_row)), "")


def parts(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of rows (begin, end) of at most `PART_BYTES` each. A row of more than `LINE_LIMIT` is alone."""
    if sizes.sum() <= PART_BYTES and not (sizes > LINE_LIMIT).any():
        yield 0, len(sizes)
        return
    begin, total = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > begin and (size > LINE_LIMIT or total > LINE_LIMIT or total + size > PART_BYTES):
            yield begin, row
            begin, total = row, 0
        total += size
    yield begin, len(sizes)


def bytes_of_rows(column: Any) -> np.ndarray:
    """The bytes of the texts in each row of an array or a batch, int64; an element of a list has `ELEMENT_BYTES` more."""
    nothing = np.zeros(len(column), np.int64)
    if isinstance(column, pa.RecordBatch):
        return sum(map(bytes_of_rows, column.columns), nothing)
    if isinstance(column, pa.ExtensionArray):
        return bytes_of_rows(column.storage)
    kind = column.type
    if column.null_count == len(column):
        return nothing
    if kinds.is_struct(kind):
        return sum(map(bytes_of_rows, column.flatten()), nothing)
    if kinds.is_map(kind):
        column = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        kind = column.type
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        ends = np.cumsum(_filled(pc.list_value_length(column)))
        sums = np.cumsum(np.append(0, bytes_of_rows(column.flatten()) + ELEMENT_BYTES))
        sums[0] = 0
        return np.diff(sums[np.append(0, ends)])
    there = np.asarray(column.is_valid())
    if kinds.is_dictionary(kind):
        return np.where(there, bytes_of_rows(column.dictionary)[_filled(column.indices)], 0)
    if kinds.is_fixed_size_binary(kind):
        return there * np.int64(kind.byte_width)
    if kinds.is_string_view(kind) or kinds.is_binary_view(kind):  # its first four bytes are the length
        lengths = np.frombuffer(column.buffers()[1], np.int32)[::4][column.offset : column.offset + len(column)]
        return np.where(there, lengths, 0).astype(np.int64)
    if any(test(kind) for test in (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary)):
        return _filled(pc.binary_length(column))
    return nothing


def _filled(numbers: Any) -> np.ndarray:
    found: np.ndarray = numbers.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return found
