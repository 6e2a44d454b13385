"""Letters of a table that is larger than memory: what is read of it, and in which order."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from shop_streams.streaming.drafts import Letter, origin_of
from shop_streams.streaming.letters import ALL, Letters
from shop_streams_tests.streaming.letters import ROWS, letter, many, stored
from shop_streams_tests.streaming.passing import watch

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_question_about_all_letters_keeps_few_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters, passing = many(tmp_path, 50), watch(monkeypatch)
    asked = "select count(distinct origin), max(reason) from letters"
    assert letters.ask(asked, ["origin", "reason"]) == [(50 * ROWS, f"{50 * ROWS - 1:0200}")]
    assert passing.rows("reason") == letters.total == 50 * ROWS and not passing.rows("raw")
    assert passing.peak < passing.bytes / 5, "most batches are gone before the last one comes"


def test_values_are_read_of_the_first_letters_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = many(tmp_path, 5)
    passing = watch(monkeypatch)
    some = pc.field("kafka_offset") >= 3_000
    found = letters.oldest(20, some)
    assert [one["kafka_offset"] for one in found] == [*range(3_000, 3_020)] and found[0]["raw"] == b"v" * 100
    assert passing.rows("raw") == 20 and passing.rows("at") == 5 * ROWS - 3_000 + 20
    assert letters.count(some) == 7_000


OF_FILE: dict[str, Any] = {"topic": None, "kafka_partition": None, "kafka_offset": None, "file": "a.json"}
SAME_TIME: list[Letter] = [
    letter(9, at=NOW), letter(10, at=NOW), letter(10, at=NOW, reason="another stream failed on it"),
    letter(0, domain="community", at=NOW, **OF_FILE, line=9), letter(0, domain="community", at=NOW, **OF_FILE, line=10),
    letter(0, domain="community", at=NOW, **OF_FILE, line=None), letter(0, at=NOW + timedelta(microseconds=1)),
]  # fmt: skip


@pytest.mark.parametrize("most", range(1, 9))
def test_the_oldest_come_first_and_letters_of_one_time_in_the_order_of_their_origins(most: int, tmp_path: Path) -> None:
    letters = stored(tmp_path, SAME_TIME[::-1])
    origins = [
        "topic_sales:0:9",
        "topic_sales:0:10",
        "topic_sales:0:10",
        "a.json:9",
        "a.json:10",
        "a.json",
        "topic_sales:0:0",
    ]
    assert [*map(origin_of, letters.read(ALL))] == origins
    assert [*map(origin_of, letters.oldest(most, ALL))] == origins[:most]


def test_without_a_table_there_are_no_letters() -> None:
    none = Letters(None)
    assert none.total == none.count(ALL) == 0 and none.read(ALL) == none.oldest(5, ALL) == []
