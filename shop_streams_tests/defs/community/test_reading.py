"""Files to rows, letters and counts."""

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shop_streams.defs.community import output, reading
from shop_streams.defs.community.json_files import LINE_LIMIT
from shop_streams.defs.community.output import SCHEMA, Output
from shop_streams.defs.community.parquet_files import Unreadable
from shop_streams.defs.community.reading import FileChanged, Reader
from shop_streams_tests.defs.community.delivered import (
    DAY,
    EVENT,
    TIMES,
    counts,
    listed,
    message,
    read,
    refused,
    valid,
    write_lines,
    write_parquet,
)

LINE = json.dumps(message()).encode()


def test_a_valid_row_has_every_column(tmp_path: Path) -> None:
    table = read(
        write_lines(tmp_path / "date=2026-01-02" / "a.jsonl", [message(datetime="2026-01-01 23:00:00.5")]),
        root=tmp_path,
    )
    assert table.schema == SCHEMA
    (row,) = valid(table)
    whole = {field.name: None for field in EVENT} | message(datetime="2026-01-01 23:00:00.5")["event"]
    assert {name: value for name, value in row.items() if value is not None and name != "event_id"} == {
        "event": whole, "event_type": "message", "lat": 55.75, "lon": 37.5, "user_id": 7,
        "event_time": datetime(2026, 1, 1, 23, 0, 0, 500_000, UTC), "event_date": date(2026, 1, 1),
        "file": "date=2026-01-02/a.jsonl", "line": 1, "folder_date": DAY,
    }  # fmt: skip
    assert len(row["event_id"]) == 32


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n \r\n\t\n", []),
        (LINE, [1]),
        (LINE + b"\n", [1]),
        (LINE + b"\r\n" + LINE + b"\r\n", [1, 2]),
        (b"\n\n" + LINE + b"\n\n" + LINE, [3, 5]),
        (b"\xef\xbb\xbf" + LINE, [1]),
        (b"\xef\xbb\xbf\n" + LINE, [2]),
        (b"  " + LINE + b"  ", [1]),
    ],
)
def test_lines_are_counted_as_an_editor_does(content: bytes, lines: list[int], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    table = read(tmp_path / "a.json", root=tmp_path)
    assert [row["line"] for row in valid(table)] == lines and refused(table) == []
    assert counts(table) == {"files": 1, "rows": len(lines), "refused": 0}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON: Input data was truncated"),
        (LINE[:-1], "not JSON: Input data was truncated"),
        (LINE + LINE, "not JSON: JSON is malformed: trailing characters"),
        (b"null", "is a NoneType, not an object"),
        (b"[1]", "is a list, not an object"),
        (b"\xff\xfe", "not JSON: JSON is malformed"),
        (LINE.replace(b'"datetime"', b'"message": "\xff", "datetime"'), "invalid UTF-8"),
        (LINE.replace(b'"datetime"', b'"message": "\\ud800", "datetime"'), "not JSON: "),
        (LINE.replace(b'"datetime"', b'"message": "\\ud800", "admins": [NaN], "datetime"'), "event.message is wrong: half of a surrogate pair"),
        (b'{"event": ' + b"[" * 100_000, "nested too deep"),
        (b'{"event": NaN' + b"[" * 100_000, "not JSON: "),
        (LINE.replace(b"55.75", b"9" * 5000 + b".NaN"), "not JSON: "),
        (b'"' + b"a" * LINE_LIMIT + b'"', "a line of more than 1048576 bytes"),
    ],
)  # fmt: skip
def test_a_bad_line_is_one_letter(line: bytes, reason: str, tmp_path: Path) -> None:
    table = read(write_lines(tmp_path / "a.json", [LINE, line, LINE]), root=tmp_path)
    assert [row["line"] for row in valid(table)] == [1, 3]
    ((number, found),) = refused(table)
    assert number == 2 and found.startswith(reason)
    (letter,) = [row for row in table.to_pylist() if row["reason"]]
    assert letter["raw"] == (line + b"\n")[: output.RAW_LIMIT]


@pytest.mark.parametrize("size", [LINE_LIMIT, LINE_LIMIT + 1])
def test_the_longest_line(size: int, tmp_path: Path) -> None:
    long = LINE + b" " * (size - len(LINE))
    for name, end in (("a.json", b"\n"), ("b.json", b"\r\n"), ("c.json", b"")):
        (tmp_path / name).write_bytes(long + end + (LINE if end else b""))
    table = read(*sorted(tmp_path.iterdir()), root=tmp_path)
    fits = size == LINE_LIMIT
    assert [(row["file"], row["line"]) for row in valid(table)] == [
        (name, line) for name, line in [("a.json", 1), ("a.json", 2), ("b.json", 1), ("b.json", 2), ("c.json", 1)] if fits or line == 2
    ]  # fmt: skip
    assert len(refused(table)) == (0 if fits else 3)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"1" + b"0" * 400])
def test_coordinates_that_are_no_numbers_are_null(number: bytes, tmp_path: Path) -> None:
    table = read(write_lines(tmp_path / "a.json", [LINE.replace(b"55.75", number)]), root=tmp_path)
    assert [(row["lat"], row["lon"]) for row in valid(table)] == [(None, 37.5)]


def test_text_with_a_nul_is_kept(tmp_path: Path) -> None:
    files = [
        write_lines(tmp_path / "a.json", [message(message="a\0b")]),
        write_parquet(tmp_path / "b.parquet", [message(message="a\0b")]),
    ]
    assert [row["event"]["message"] for row in valid(read(*files, root=tmp_path))] == ["a\0b"] * 2


def broken(path: Path, kind: str) -> Path:
    write_parquet(path, [message(message_id=number) for number in range(100)], row_group_size=50)
    content = bytearray(path.read_bytes())
    if kind == "a page":
        content[20:400] = b"\xff" * 380

    changes = {
        "empty": b"",
        "cut": bytes(content[:-20]),
        "no parquet": b"PAR1 hello",
        "lines": LINE,
        "footer": bytes(content[:-12]) + b"\xff" * 8 + b"PAR1",
    }
    path.write_bytes(changes.get(kind, bytes(content)))
    return path


@pytest.mark.parametrize("kind", ["empty", "cut", "no parquet", "lines", "footer", "a page"])
def test_a_file_that_can_not_be_read_is_one_letter_and_the_others_are_read(kind: str, tmp_path: Path) -> None:
    files = [
        write_lines(tmp_path / "a.json", [LINE]),
        broken(tmp_path / "b.parquet", kind),
        write_lines(tmp_path / "c.json", [LINE]),
    ]
    table = read(*files, root=tmp_path)
    assert {"a.json", "c.json"} <= {row["file"] for row in valid(table)}
    (letter,) = [row for row in table.to_pylist() if row["reason"]]
    assert (letter["file"], letter["line"], letter["raw"]) == ("b.parquet", None, None)
    assert letter["reason"].startswith("the file can't be read: ")


def test_a_file_of_other_columns_is_named(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", pa.table({"x": [1, 2, 3]}))
    assert refused(read(file, root=tmp_path)) == [
        (None, "the file can't be read: it has none of the columns event, event_type, lat, lon")
    ]


def test_no_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_lines(tmp_path / "a.json", [LINE])

    def no(*_args: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading, "open", no, raising=False)  # the tests may run as root, who may read everything
    assert refused(read(file, root=tmp_path)) == [(None, "the file can't be read: Permission denied")]


def test_junk_has_few_letters_and_an_exact_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LETTERS_OF_A_FILE", 3)
    monkeypatch.setattr(output, "LETTERS_OF_A_TASK", 5)
    files = [
        write_lines(tmp_path / name, [b"junk"] * lines)
        for name, lines in [("a.json", 3), ("b.json", 10), ("c.json", 4)]
    ]
    table = read(*files, root=tmp_path)
    letters = [
        (row["file"], row["line"], row["reason"].split(" refused")[0]) for row in table.to_pylist() if row["reason"]
    ]
    assert [(file, line) for file, line, _ in letters] == [
        ("a.json", 1), ("a.json", 2), ("a.json", 3), ("b.json", 1), ("b.json", 2), ("b.json", 3), ("c.json", 1)
    ]  # fmt: skip
    assert [words for *_, words in letters if words.startswith("the first of")] == [
        "the first of 8 more",
        "the first of 4 more",
    ]
    assert counts(table) == {"files": 3, "rows": 0, "refused": 17}


@pytest.mark.parametrize("what", ["longer", "touched", "deleted", "a link", "a folder"])
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_changes_is_an_error(what: str, when: str, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    file = write_lines(root / "a.json", [LINE] * 12_000)
    one, reader, found = listed(file, root), Reader(str(root), TIMES), Output()
    outside = write_lines(tmp_path / "secret.json", [LINE] * 12_000)
    os.utime(outside, ns=(one.modified, one.modified))

    def change() -> None:
        if what == "longer":
            with file.open("ab") as more:
                more.write(LINE)
            os.utime(file, ns=(one.modified, one.modified))
        elif what == "touched":
            os.utime(file, ns=(one.modified, one.modified + 1))
        else:
            file.unlink()
            if what == "a link":
                file.symlink_to(outside)
            elif what == "a folder":
                file.mkdir()

    if when == "before":
        change()
    reading = reader.read(one, found)
    with pytest.raises(FileChanged, match=r"a\.json"):
        for number, _ in enumerate(reading):
            if when == "while" and number == 0:
                change()


def test_what_breaks_while_it_changes_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(tmp_path / "a.parquet", [message()])

    def torn(_file: Any) -> Any:
        file.write_bytes(b"PAR1")
        raise Unreadable("torn")
        yield

    monkeypatch.setattr("shop_streams.defs.community.reading.parquet_rows", torn)
    with pytest.raises(FileChanged):
        list(Reader(str(tmp_path), TIMES).read(listed(file, tmp_path), Output()))
