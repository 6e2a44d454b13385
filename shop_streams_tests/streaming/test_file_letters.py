"""Dead letters of files beside those of records."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from shop_streams.errors import ShopStreamsError
from shop_streams.lake import reader
from shop_streams.lake import write as lake_write
from shop_streams.lake.write import append_small_batch
from shop_streams.settings import Settings
from shop_streams.streaming.choice import Choice, choose
from shop_streams.streaming.dead_letters import DEAD_LETTERS, to_replay
from shop_streams.streaming.drafts import State, make_drafts, origin_of
from shop_streams.streaming.file_letters import replace_letters
from shop_streams.streaming.replay import summary
from shop_streams_tests.streaming.letter_table import SCHEMA, create_letters
from shop_streams_tests.streaming.letters import find, letter, stored

FOLDER = "date=2026-01-02"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    known = Settings(home=tmp_path, lake_uri=str(tmp_path / "lake"))
    create_letters(known)
    return known


def rows(*places: tuple[str, int | None]) -> pa.Table:
    return pa.table(
        {
            "file": pa.array([file for file, _ in places], pa.string()),
            "line": pa.array([line for _, line in places], pa.int64()),
            "raw": pa.array([b"junk"] * len(places), pa.binary()),
            "reason": pa.array(["not JSON"] * len(places), pa.string()),
        }
    )


def append_record(settings: Settings, offset: int, domain: str = "sales") -> None:
    one = letter(offset, domain=domain, file=None, line=None)
    table = pa.Table.from_pylist([one], schema=SCHEMA)
    append_small_batch(table, DEAD_LETTERS.uri(settings), f"test:{domain}:{offset}", 0)


def origins(settings: Settings) -> list[str]:
    return sorted(map(origin_of, find(settings)))


def test_the_letters_of_a_folder_are_replaced_and_no_others(settings: Settings) -> None:
    append_record(settings, 1)
    append_record(settings, 2, domain="community")
    others = [f"{FOLDER}0/a.json", "date=2026-01-01/a.json", "date=2026-01-03/a.json", f"x/{FOLDER}/a.json"]
    for other in others:
        replace_letters(settings, "community", [other.rpartition("/")[0]], rows((other, 1)))
    replace_letters(settings, "elsewhere", [FOLDER], rows((f"{FOLDER}/a.json", 1)))
    kept = origins(settings)
    assert len(kept) == 7

    replace_letters(
        settings,
        "community",
        [FOLDER],
        rows((f"{FOLDER}/a.json", 1), (f"{FOLDER}/x/\u00fc '.json", 2), (f"{FOLDER}/b.parquet", None)),
    )
    assert origins(settings) == sorted(
        [*kept, f"{FOLDER}/a.json:1", f"{FOLDER}/x/\u00fc '.json:2", f"{FOLDER}/b.parquet"]
    )
    replace_letters(settings, "community", [FOLDER], rows((f"{FOLDER}/a.json", 7)))
    assert origins(settings) == sorted([*kept, f"{FOLDER}/a.json:7"])
    replace_letters(settings, "community", [FOLDER], rows())
    assert origins(settings) == kept


def test_nothing_wrong_before_and_now_is_no_commit(settings: Settings) -> None:
    before = DeltaTable(DEAD_LETTERS.uri(settings)).version()
    replace_letters(settings, "community", [FOLDER], rows())
    assert DeltaTable(DEAD_LETTERS.uri(settings)).version() == before


def test_streams_append_meanwhile_and_nothing_is_lost(settings: Settings) -> None:
    def append(domain: str) -> None:
        for offset in range(15):
            append_record(settings, offset, domain)

    threads = [threading.Thread(target=append, args=(domain,)) for domain in ("sales", "promotions")]
    for thread in threads:
        thread.start()
    for number in range(15):
        replace_letters(
            settings,
            "community",
            [f"date=2026-01-{number % 3 + 1:02}"],
            rows((f"date=2026-01-{number % 3 + 1:02}/a.json", number)),
        )
    for thread in threads:
        thread.join()
    of_files = [f"date=2026-01-0{day}/a.json:{number}" for day, number in ((1, 12), (2, 13), (3, 14))]
    assert origins(settings) == sorted(
        of_files + [f"topic_{domain}:0:{offset}" for domain in ("sales", "promotions") for offset in range(15)]
    )


def test_a_commit_may_lose_many_races(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as on a busy machine, while the files of a folder are loaded: a stream's batch must not fail for it."""
    lost = iter(range(20))

    def loses(*given: Any, **options: Any) -> None:
        if next(lost, None) is not None:
            raise CommitFailedError("a concurrent transaction deleted data")
        write_deltalake(*given, **options)

    monkeypatch.setattr(lake_write, "write_deltalake", loses)
    monkeypatch.setattr(append_small_batch.retry, "sleep", lambda _seconds: None)
    append_record(settings, 1)
    assert origins(settings) == ["topic_sales:0:1"]


def test_they_are_in_no_account_and_do_not_expire(settings: Settings) -> None:
    append_record(settings, 5)
    replace_letters(settings, "community", [FOLDER], rows((f"{FOLDER}/a.json", 5)))
    inside = (pc.field("kafka_partition") == 0) & (pc.field("kafka_offset") >= 0) & (pc.field("topic") == "topic_sales")
    found = list(reader.batches(DEAD_LETTERS.uri(settings), ["kafka_partition", "kafka_offset"], inside))
    assert sum(batch.num_rows for batch in found) == 1
    forgotten = "((topic = 'topic_sales' and kafka_partition = 0 and kafka_offset < 100))"
    DeltaTable(DEAD_LETTERS.uri(settings)).delete(forgotten)
    assert origins(settings) == [f"{FOLDER}/a.json:5"]


OF_FILE = letter(
    0,
    b"junk",
    "not JSON",
    "community",
    topic=None,
    kafka_partition=None,
    kafka_offset=None,
    file="date=2026-01-02/a.json",
    line=5,
)


def never(*_args: Any) -> Any:
    raise AssertionError("a row of a file is neither fixed nor validated")


def good(domain: str, attempts: Sequence[Any]) -> list[str | None]:
    assert domain == "sales"
    return [None] * len(attempts)


@pytest.mark.parametrize("firsts", [None, {}])
def test_a_replay_says_where_to_mend_it(firsts: dict[str, bytes | None] | None) -> None:
    (draft,) = make_drafts([OF_FILE], never, never, firsts)
    assert draft.state() is draft.state(send_refused=True) is State.IN_FILE
    assert draft.verdict == "mend it in date=2026-01-02/a.json: the files of its date are then loaded again"
    assert summary([draft.state()]) == "1 to be mended in their files"
    states = [one.state() for one in make_drafts([OF_FILE, letter(1)], lambda value: value, good)]
    assert states == [State.IN_FILE, State.READY]


def test_a_replay_of_everything_leaves_them_out() -> None:
    record = letter(1)
    assert to_replay([OF_FILE, record], named=False) == [record]
    assert to_replay([OF_FILE, record], named=True) == [OF_FILE, record]


def test_they_are_chosen_by_file_and_line(tmp_path: Path) -> None:
    whole = OF_FILE | {"line": None}
    letters = stored(tmp_path / "letters", [OF_FILE, whole, letter(1)])

    def chosen(choice: Choice) -> list[Any]:
        return [(one["file"], one["line"]) for one in letters.read(choose(letters, choice, ["sales"]))]

    name = OF_FILE["file"]
    assert chosen(Choice(origins=(f"{name}:5",))) == [(name, 5)] and chosen(Choice(origins=(name,))) == [(name, None)]
    assert chosen(Choice(domain="community")) == [(name, 5), (name, None)]
    with pytest.raises(ShopStreamsError, match=r"file:line"):
        chosen(Choice(origins=(f"{name}:6",)))


def test_a_table_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    known = Settings(home=tmp_path, lake_uri=str(tmp_path / "old"))
    old = pa.Table.from_pylist([letter(1)], schema=pa.schema(list(SCHEMA)[:-2]))
    write_deltalake(DEAD_LETTERS.uri(known), old, partition_by=["domain"])
    (found,) = find(known)
    assert (found["file"], found["line"], origin_of(found)) == (None, None, "topic_sales:0:1")
    assert found["at"] <= datetime.now(UTC)
