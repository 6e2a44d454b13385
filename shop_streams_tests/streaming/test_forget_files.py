"""Dead letters of delivered files: those that name a person are found and removed, and no others."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from shop_streams.defs.community.persons import PERSONS
from shop_streams.lake import reader
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.file_letters import replace_letters
from shop_streams.streaming.forget import Letters, letters_of, mention, remove_letters
from shop_streams.streaming.forgotten import FORGOTTEN
from shop_streams_tests.streaming.letter_table import create_letters

FOLDER = "date=2026-01-02"
MINE = b'{"event": {"message_from": 17, "message_to": 5}}'
OTHERS = b'{"event": {"message_from": 5, "message_to": 17}}'


def deliver(
    settings: Settings, letters: Mapping[tuple[str, int | None], bytes | None], domain: str = "community"
) -> None:
    """Write letters of files as a loader does: (file, line) -> the row's beginning."""
    rows = [
        {"file": f"{FOLDER}/{file}", "line": line, "raw": raw, "reason": "wrong"}
        for (file, line), raw in letters.items()
    ]
    kinds = [("file", pa.string()), ("line", pa.int64()), ("raw", pa.binary()), ("reason", pa.string())]
    replace_letters(settings, domain, [FOLDER], pa.Table.from_pylist(rows, schema=pa.schema(kinds)))


def found(settings: Settings, person: str = "17") -> Letters:
    return letters_of(settings, "community", person, PERSONS)


def left(settings: Settings) -> list[tuple[str, str, int | None]]:
    columns = ["domain", "file", "line"]
    return sorted(
        tuple(row.values()) for row in reader.scan(DEAD_LETTERS.uri(settings), columns).select(columns).to_pylist()
    )


def test_only_the_letters_that_name_the_person_go_and_the_log_names_no_file(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    create_letters(settings)
    rows = {("17.json", 1): MINE, ("17.json", 2): OTHERS, ("b.json", 1): OTHERS, ("b.json", 2): MINE, ("c", None): None}
    deliver(settings, rows)
    deliver(settings, {("17.json", 1): MINE}, "another")
    before = DeltaTable(DEAD_LETTERS.uri(settings)).to_pyarrow_table()
    naming = found(settings).naming
    assert sorted(map(str, naming)) == [f"{FOLDER}/17.json:1", f"{FOLDER}/b.json:2"]
    assert remove_letters(settings, "community", naming, ()) == 2
    assert left(settings) == [
        ("another", f"{FOLDER}/17.json", 1),
        ("community", f"{FOLDER}/17.json", 2),
        ("community", f"{FOLDER}/b.json", 1),
        ("community", f"{FOLDER}/c", None),
    ]
    after = DeltaTable(DEAD_LETTERS.uri(settings)).to_pyarrow_table()
    assert after.schema == before.schema
    assert all(row in before.to_pylist() for row in after.to_pylist())
    assert "17.json" not in str(DeltaTable(DEAD_LETTERS.uri(settings)).history(1))
    assert not Path(FORGOTTEN.uri(settings)).exists(), "a file's row has no offset to account for"
    assert remove_letters(settings, "community", found(settings).naming, ()) == 0


@pytest.mark.parametrize(("line", "shown"), [(3, f"{FOLDER}/a.json:3"), (None, f"{FOLDER}/a.json")])
def test_a_letter_that_cannot_be_decoded_is_told_with_its_file(line: int | None, shown: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    create_letters(settings)
    deliver(settings, {("a.json", line): b'{"event": {"message_from": 17, "mess', ("b.json", 1): b'{"event": 117'})
    assert list(map(str, found(settings).undecided)) == [shown]
    assert found(settings).naming == []


@pytest.mark.parametrize(
    ("raw", "naming", "undecided"),
    [
        (b'{"event": {"message_from": 17.0}}', True, False),
        (b'{"event": {"message_from": "17"}}', True, False),
        (b'{"event": {"reaction_from": "017"}}', True, False),
        (b'{"event": {"subscription_user": 17}}', True, False),
        (b'{"event": {"user": 17.5}}', False, False),
        (b'{"event": {"message_from": true, "message": "17"}}', False, False),
        (b'{"event": {"message_from": 17}, "lat": NaN}', True, False),
        (b'\xef\xbb\xbf{"event": {"message_from": 17}}\n', True, False),
        (b'{"event": {"message_from": 17, "message": "aaaa', False, True),
        (b'{"event": {"reaction_from": "0017", "message": "aaaa', False, True),
        (b'{"event": {"message_from": 117, "message": "aaaa', False, False),
        (b"[17]", False, True),
    ],
)
def test_a_letter_is_read_as_the_loader_reads_its_row(
    raw: bytes, naming: bool, undecided: bool, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    create_letters(settings)
    deliver(settings, {("a.json", 3): raw})
    letters = found(settings)
    assert (len(letters.naming), len(letters.undecided)) == (naming, undecided)
    assert set(map(str, letters.naming + letters.undecided)) <= {f"{FOLDER}/a.json:3"}


@pytest.mark.parametrize(
    ("person", "text", "there"),
    [
        ("-5", b"[-5]", True),
        ("-5", b"[-05]", True),
        ("5", b"[-5]", False),
        ("5", b"[50]", False),
        ("0", b"[0]", True),
        ("a.b", b"(a.b)", True),
        ("a.b", b"(acb)", False),
        ("a", b"(0a)", False),
    ],
)
def test_an_id_is_found_as_a_word_of_its_own(person: str, text: bytes, there: bool) -> None:
    assert bool(mention(person).search(text)) is there
