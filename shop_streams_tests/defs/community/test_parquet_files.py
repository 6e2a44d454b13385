"""Parquet files whose columns have any types."""

import json
import os
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shop_streams.defs.community import parquet_limits
from shop_streams_tests.defs.community.delivered import EVENT, RAW, message, read, refused, valid, write_parquet


def parquet_of(column: pa.Array, name: str) -> pa.Table:
    """One valid message for each value of the column `name`, a field of the event or a column of the row."""
    table = pa.Table.from_pylist([message()] * len(column), schema=RAW)
    if name in RAW.names:
        return table.set_column(RAW.get_field_index(name), name, column)
    event = table["event"].combine_chunks()
    arrays = [column if field.name == name else event.field(field.name) for field in EVENT]
    return table.set_column(0, "event", pa.StructArray.from_arrays(arrays, names=[field.name for field in EVENT]))


OK = None
NO_ID, NO_TEXT, NO_NUMBER = "where an id belongs", "where text belongs", "where a number belongs"
AT = datetime(2026, 1, 1, 10)


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("message_to", pa.array([8, -1, None], pa.int8()), [8, -1, None]),
        ("message_to", pa.array([8, 2**63], pa.uint64()), [8, "an id of more than 64 bits"]),
        ("message_to", pa.array([8.0, 8.5, None, float("nan")]), [8, "a number that is no id", None, None]),
        ("message_to", pa.array([Decimal("8.00"), Decimal("8.50")]), [8, "a number that is no id"]),
        ("message_to", pa.array([Decimal(2**63)], pa.decimal256(50)), ["an id of more than 64 bits"]),
        ("message_to", pa.array(["8", "x", None]), [8, "text without an id in digits", None]),
        ("message_to", pa.array([b"8", b"\xff"]), [8, "invalid UTF-8"]),
        ("message_to", pa.array(["8", "9"]).dictionary_encode(), [8, 9]),
        ("message_to", pa.array([True, None]), [f"bool {NO_ID}", None]),
        ("message_to", pa.array([[8], None]), [f"list<element: int64> {NO_ID}", None]),
        ("message_to", pa.array([AT]), [f"timestamp[us] {NO_ID}"]),
        ("message_to", pa.nulls(2), [None, None]),
        ("message", pa.array(["a", None], pa.large_string()), ["a", None]),
        ("message", pa.array([b"a", b"\xff"]), ["a", "invalid UTF-8"]),
        ("message", pa.array([b"a", b"\xff", b"b"]).view(pa.string()), ["a", "invalid UTF-8", "b"]),
        ("message", pa.array([5, None]), ["5", None]),
        ("message", pa.array([5.0, 5.5, float("nan"), float("inf")]), ["5", "5.5", None, f"a number {NO_TEXT}"]),
        ("message", pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        ("message", pa.array([Decimal("5.50")]), ["5.5"]),
        ("message", pa.array([{"a": 1}, None]), [f"struct<a: int64> {NO_TEXT}", None]),
        ("message", pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), [NO_TEXT]),
        ("datetime", pa.array([AT]), [f"timestamp[us] {NO_TEXT}"]),
        ("datetime", pa.array([2**62], pa.timestamp("ms")), [f"timestamp[ms] {NO_TEXT}"]),
        ("datetime", pa.array([AT.date()]), [f"date32[day] {NO_TEXT}"]),
        ("lat", pa.array([55, None]), [55.0, None]),
        ("lat", pa.array([55.5, float("nan")], pa.float32()), [55.5, None]),
        ("lat", pa.array([Decimal("55.5")]), [55.5]),
        ("lat", pa.array(["55.5", None]), [f"text {NO_NUMBER}", None]),
        ("admins", pa.array([["1", None], [], None, ["x", "2", "y"]]),
         [[1, None], [], None, "event.admins[0] is wrong: text without an id in digits; event.admins[2] is wrong: text without an id in digits"]),
        ("admins", pa.array([[1.0], [1.5], [3.0]]), [[1], "event.admins[0] is wrong: a number that is no id", [3]]),
        ("admins", pa.array([[1, 2], None], pa.list_(pa.int32(), 2)), [[1, 2], None]),
        ("admins", pa.array([[], None], pa.list_(pa.null())), [[], None]),
        ("admins", pa.array([5, None]), ["event.admins is wrong: int64 where a list belongs", None]),
        ("tags", pa.array([[b"a"], [b"\xff"]]).cast(pa.list_(pa.binary())), [["a"], "event.tags[0] is wrong: invalid UTF-8"]),
        ("tags", pa.array([["a"], [None]], pa.large_list(pa.large_string())), [["a"], [None]]),
        ("media", pa.array([{"src": "a", "x": 1}, None, {"src": None, "x": 2}]),
         [{"media_type": None, "src": "a"}, None, {"media_type": None, "src": None}]),
        ("media", pa.array([{"src": 5}]), [{"media_type": None, "src": "5"}]),
        ("media", pa.array(["a", None]), ["event.media is wrong: string where an object belongs", None]),
        ("event", pa.array([{"x": 1}]), ["event.message_from is missing; event.datetime is missing"]),
        ("event", pa.array(["{}"]), ["event is wrong: string where an object belongs"]),
        ("event", pa.nulls(1, EVENT), ["event.message_from is missing; event.datetime is missing"]),
        ("event_type", pa.array(["message", "x", None]), ["message", "is none of message, reaction", "event_type is missing"]),
    ],
)  # fmt: skip
def test_columns_of_other_types(name: str, column: pa.Array, expected: list[Any], tmp_path: Path) -> None:
    table = read(write_parquet(tmp_path / "a.parquet", parquet_of(column, name), store_schema=False), root=tmp_path)
    letters = dict(refused(table))
    rows = {row["line"]: row[name] if name in row else row["event"][name] for row in valid(table)}
    assert letters.keys() | rows.keys() == set(range(1, len(column) + 1)) and not letters.keys() & rows.keys()
    for line, value in enumerate(expected, 1):
        if line in letters:
            assert isinstance(value, str) and value in letters[line], letters[line]
        else:
            assert rows[line] == value and type(rows[line]) is type(value)


def test_times_of_96_bits_are_refused_as_other_times(tmp_path: Path) -> None:
    file = write_parquet(
        tmp_path / "a.parquet", parquet_of(pa.array([AT]), "datetime"), use_deprecated_int96_timestamps=True
    )
    assert refused(read(file, root=tmp_path)) == [(1, "event.datetime is wrong: timestamp[ns] where text belongs")]


def test_a_letter_of_a_parquet_row_shows_it_as_json(tmp_path: Path) -> None:
    table = read(write_parquet(tmp_path / "a.parquet", [message(), message(message_from=None)]), root=tmp_path)
    (letter,) = [row for row in table.to_pylist() if row["reason"]]
    assert letter["line"] == 2 and json.loads(letter["raw"])["event"]["message_to"] == 8
    odd = parquet_of(pa.array([2**62], pa.timestamp("ms")), "datetime")
    (letter,) = [
        row for row in read(write_parquet(tmp_path / "b.parquet", odd), root=tmp_path).to_pylist() if row["reason"]
    ]
    assert letter["raw"].startswith(b"values that have no text")


def test_rows_are_numbered_through_row_groups(tmp_path: Path) -> None:
    rows = [message(message_id=number) for number in range(1, 5001)]
    table = read(write_parquet(tmp_path / "a.parquet", rows, row_group_size=3000), root=tmp_path)
    assert [(row["line"], row["event"]["message_id"]) for row in valid(table)] == [
        (number, number) for number in range(1, 5001)
    ]


def test_a_row_group_that_declares_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*[message(message=os.urandom(50_000).hex())] * 3, message(), message()]
    file = write_parquet(tmp_path / "a.parquet", rows, row_group_size=3, use_dictionary=False)
    monkeypatch.setattr(parquet_limits, "GROUP_LIMIT", 100_000)
    table = read(file, root=tmp_path)
    assert [row["line"] for row in valid(table)] == [4, 5]
    ((line, reason),) = refused(table)
    assert line is None and reason.startswith(
        "the file can't be read: 1 row groups are not read. The first: row group 0, rows 1 to 3, declares"
    )
    monkeypatch.setattr(parquet_limits, "GROUP_LIMIT", 10**9)
    monkeypatch.setattr(parquet_limits, "CELLS_LIMIT", 50)
    assert [row["line"] for row in valid(read(file, root=tmp_path))] == [4, 5]
