"""Parquet files that hold far more than their size says: what a worker reads of them is bounded."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.defs.community import output, parquet_limits
from shop_streams.defs.community.json_files import LINE_LIMIT
from shop_streams.defs.community.parquet_limits import bytes_of_rows, parts
from shop_streams.defs.community.reading import Reader
from shop_streams_tests.defs.community.delivered import (
    EVENT,
    RAW,
    TIMES,
    listed,
    message,
    read,
    refused,
    valid,
    write_lines,
    write_parquet,
)

MIB = 1_048_576
TOO_LARGE = "a row with texts and lists of more than 1048576 bytes"
READ = """
import resource, sys
from pathlib import Path
from shop_streams_tests.defs.community.delivered import read, refused, valid
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), -1))
path = Path(sys.argv[1])
table = read(path, root=path.parent)
print(len(valid(table)), len(refused(table)), refused(table)[0][1])
"""


def test_a_huge_value_of_a_dictionary_does_not_exhaust_the_memory(tmp_path: Path) -> None:
    """Each of 200 rows refers to one text of 16 MiB."""
    rows = pa.Table.from_pylist([message()] * 201, schema=RAW)["event"].combine_chunks()
    text = pa.DictionaryArray.from_arrays(pa.array([*[0] * 200, None], pa.int32()), pa.array(["x" * 16 * MIB]))
    names = [field.name for field in EVENT]
    fields = [text if name == "message" else rows.field(name) for name in names]
    event = pa.StructArray.from_arrays(fields, names=names)
    table = pa.table({"event": event, "event_type": ["message"] * 201})
    file = write_parquet(tmp_path / "a.parquet", table, store_schema=False)
    assert file.stat().st_size < MIB
    # All texts have 3.2 GB.
    done = subprocess.run(
        [sys.executable, "-c", READ, str(file), str(2048 * MIB)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == f"1 200 {TOO_LARGE}", done.stderr[-2000:]


def test_the_size_of_a_row_counts_all_its_texts_and_lists(tmp_path: Path) -> None:
    half = "y" * (LINE_LIMIT // 2)
    rows = [
        message(message=half, reaction_type=half[:-100]),
        message(message=half, reaction_type=half),
        message(tags=["z" * 1000] * 1100),
        message(admins=[1] * 600_000),
        message(admins=[1] * 1000, tags=["z" * 1000] * 1000),
        message(media={"media_type": None, "src": half + half}),
    ]
    table = read(write_parquet(tmp_path / "a.parquet", rows), root=tmp_path)
    assert [row["line"] for row in valid(table)] == [1, 5]
    assert refused(table) == [(line, TOO_LARGE) for line in (2, 3, 4, 6)]


def test_a_row_of_json_that_fits_fits_in_parquet_too(tmp_path: Path) -> None:
    row = message(admins=[1] * 500_000)
    line = json.dumps(row, separators=(",", ":")).encode()
    files = [write_lines(tmp_path / "a.json", [line]), write_parquet(tmp_path / "b.parquet", [row])]
    first, second = valid(read(*files, root=tmp_path))
    assert first["event_id"] == second["event_id"]


def test_the_letter_of_a_row_that_is_too_large_shows_its_short_values(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", [message(message="x" * (LINE_LIMIT + 1), message_id=5)])
    (letter,) = [row for row in read(file, root=tmp_path).to_pylist() if row["reason"]]
    shown = json.loads(letter["raw"])
    assert (shown["event"]["message_from"], shown["event"]["message_id"], shown["event_type"]) == (7, 5, "message")
    assert "message" not in shown["event"]


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_texts_in_any_encoding_are_read(encoding: str, tmp_path: Path) -> None:
    rows = [message(message=f"text {number}", tags=["a", f"{number}"]) for number in range(3000)]
    codes = dict.fromkeys(("event.message", "event.tags.list.element"), encoding)
    file = write_parquet(tmp_path / "a.parquet", rows, use_dictionary=False, column_encoding=codes)
    found = valid(read(file, root=tmp_path))
    assert [(row["event"]["message"], row["event"]["tags"]) for row in found] == [
        (f"text {number}", ["a", f"{number}"]) for number in range(3000)
    ]


@pytest.mark.parametrize(
    ("limit", "row", "options", "words"),
    [
        # 40 texts of 10 bytes with one beginning take about 100 bytes in the file; any of them could be as long.
        (2000, message(tags=["abcdefghij"] * 40), {"column_encoding": {"event.tags.list.element": "DELTA_BYTE_ARRAY"}},
         "bytes of event.tags.list.element in a row"),
        (2000, message(admins=[1] * 1000), {}, "may have 8000 bytes of event.admins.list.element in a row"),
    ],
)  # fmt: skip
def test_a_row_group_of_which_a_row_may_fill_the_memory_is_not_read(
    limit: int, row: Any, options: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_parquet(tmp_path / "a.parquet", [row], use_dictionary=["event.admins.list.element"], **options)
    assert len(valid(read(file, root=tmp_path))) == 1
    monkeypatch.setattr(parquet_limits, "GROUP_LIMIT", limit)
    ((line, reason),) = refused(read(file, root=tmp_path))
    assert line is None and "row group 0, rows 1 to 1, may have" in reason and words in reason


def test_values_that_repeat_their_beginning_are_read_in_small_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {"event.message": "DELTA_BYTE_ARRAY"}
    file = write_parquet(tmp_path / "a.parquet", [message(message="x" * 10_000)] * 100, use_dictionary=False, column_encoding=codes)  # fmt: skip
    monkeypatch.setattr(parquet_limits, "GROUP_LIMIT", 50_000)
    sizes: list[int] = []

    def noted(found: Any) -> Any:
        sizes.append(len(found))
        return parts(found)

    monkeypatch.setattr("shop_streams.defs.community.parquet_files.parts", noted)
    assert len(valid(read(file, root=tmp_path))) == 100
    assert max(sizes) * 10_000 <= 50_000


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_a_task_gives_its_rows_back_before_they_fill_the_memory(kind: str, tmp_path: Path) -> None:
    """A text that is in memory once is in each row of what is given back."""
    size = MIB - 1000
    rows = [message(message="x" * size, message_id=number) for number in range(60)]
    file = write_lines(tmp_path / "a.json", rows) if kind == "json" else write_parquet(tmp_path / "a.parquet", rows)
    batches = Reader(str(tmp_path), TIMES).batches(
        iter([pa.RecordBatch.from_pylist([listed(file, tmp_path)._asdict()])])
    )
    found = [(batch.num_rows, batch.nbytes) for batch in batches]
    assert sum(rows for rows, _ in found) == 60 + 1
    assert max(nbytes for _, nbytes in found) <= output.BYTES_AT_ONCE + 2 * MIB


TEXTS = st.none() | st.text(max_size=5)


@given(
    rows=st.lists(st.tuples(TEXTS, st.none() | st.lists(TEXTS, max_size=4), st.none() | st.lists(st.tuples(st.text(max_size=3), TEXTS), max_size=2)), max_size=8),
    skip=st.integers(0, 3),
    encoded=st.booleans(),
)  # fmt: skip
@settings(deadline=None)
def test_the_bytes_of_rows_are_those_of_their_texts(rows: list[Any], skip: int, encoded: bool) -> None:
    one, many, pairs = ([row[column] for row in rows] for column in range(3))
    text = pa.array(one, pa.string())
    lists = pa.array(many, pa.list_(pa.dictionary(pa.int32(), pa.string()) if encoded else pa.large_string()))
    struct = pa.StructArray.from_arrays([text.dictionary_encode() if encoded else text, lists], names=["a", "b"])
    maps = pa.array(pairs, pa.map_(pa.string(), pa.string()))
    batch = pa.RecordBatch.from_arrays([struct, maps, text.cast(pa.string_view())], names=["event", "x", "y"])

    def size(value: Any) -> int:
        if isinstance(value, str):
            return len(value.encode())
        return sum(2 + size(each) if isinstance(value, list) else size(each) for each in value or ())

    expected = [2 * size(text) + size(many) + size(pairs) for text, many, pairs in rows]
    assert bytes_of_rows(batch).tolist() == expected
    assert bytes_of_rows(batch.slice(skip)).tolist() == expected[skip:]


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * MIB), min_size=1, max_size=30))
def test_parts_have_all_rows_in_order_and_are_small(sizes: list[int]) -> None:
    found = list(parts(pa.array(sizes, pa.int64()).to_numpy()))
    assert [row for begin, end in found for row in range(begin, end)] == list(range(len(sizes)))
    for begin, end in found:
        assert end == begin + 1 or (
            sum(sizes[begin:end]) <= parquet_limits.PART_BYTES and max(sizes[begin:end]) <= LINE_LIMIT
        )


def test_fields_that_nobody_reads_refuse_no_row(tmp_path: Path) -> None:
    """Large ones, and lists of texts in an encoding that may repeat them."""
    rows = [message(message_id=number) for number in range(1, 20_001)]
    for number, row in enumerate(rows):
        row["event"] |= {"mentions": ["somebody"] if number % 10 == 0 else None, "blob": None}
    rows[0]["event"]["blob"] = "x" * (LINE_LIMIT + 1)
    fields = [*RAW.field("event").type, pa.field("mentions", pa.list_(pa.string())), pa.field("blob", pa.string())]
    table = pa.Table.from_pylist(rows, schema=RAW.set(0, pa.field("event", pa.struct(fields))))
    encoding = {"event.mentions.list.element": "DELTA_BYTE_ARRAY"}
    path = write_parquet(
        tmp_path / "date=2026-01-02" / "a.parquet", table, column_encoding=encoding, use_dictionary=False
    )
    found = read(path, root=tmp_path)
    assert refused(found) == [] and len(valid(found)) == len(rows)


def test_an_event_without_a_known_field_is_a_row_without_values(tmp_path: Path) -> None:
    table = pa.table({"event": pa.array([{"mentions": 1}] * 3)})
    path = write_parquet(tmp_path / "date=2026-01-02" / "a.parquet", table)
    assert [line for line, _ in refused(read(path, root=tmp_path))] == [1, 2, 3]
