"""What the checks count: each case is what a table could have, in one part and in several."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.defs.community import checks, columns
from shop_streams.defs.community.columns import (
    FileNumbers,
    Keys,
    Weeks,
    among,
    joined,
    loaded_and_refused,
    parts,
    repeated,
    wrong_pairs,
    wrong_travels,
)
from shop_streams.defs.community.schema import FRIEND_RECOMMENDATIONS, STG_EVENTS, USERS_MART
from shop_streams.lake.reader import Lake
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS

JUNE, JULY = date(2026, 6, 1), date(2026, 7, 1)
WEEK = date(2026, 6, 29)
Pairs = list[tuple[int, int]]
PAIRS = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), st.integers(0, 3)))


def keys(pairs: Pairs) -> Keys:
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(first, np.int64), np.array(second, np.int64)


def pairs_of(found: Keys) -> Pairs:
    return [*zip(found[0].tolist(), found[1].tolist(), strict=True)]


@settings(deadline=None)
@given(PAIRS, st.integers(1, 4))
def test_what_is_there_more_than_once(pairs: Pairs, count: int) -> None:
    batches = [keys(pairs[:3]), keys(pairs[3:])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "KEYS_AT_ONCE", max(1, -(-len(pairs) // count)))
        found: dict[tuple[int, int], int] = {}
        for part in parts(lambda: batches, len(pairs)):
            first, second, times = repeated(part)
            found |= dict(zip(pairs_of((first, second)), times.tolist(), strict=True))
    assert found == {pair: times for pair, times in Counter(pairs).items() if times > 1}


@settings(deadline=None)
@given(PAIRS, PAIRS)
def test_what_others_have_too(mine: Pairs, others: Pairs) -> None:
    assert among(keys(mine), keys(others)).tolist() == [one in others for one in mine]


def test_a_part_has_a_part_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "KEYS_AT_ONCE", 1_000)
    numbers = np.arange(10_000, dtype=np.int64)
    sizes = [len(first) for first, _ in parts(lambda: [(numbers, numbers * 0 + 7)], 10_000)]
    assert len(sizes) == 10 and sum(sizes) == 10_000 and max(sizes) < 1_500
    sizes = [len(first) for first, _ in parts(lambda: [(numbers, numbers)], 10_000)]
    assert max(sizes) < 1_500, "users, whose both numbers are the same"


@pytest.mark.parametrize(
    ("rows", "letters", "problems"),
    [
        ([("a", 1), ("a", 2), ("b", 1)], [("a", 3), ("c", 1), ("c", None)], []),
        ([("a", 1), ("a", 1)], [], ["a:1 is loaded 2 times"]),
        ([("a", 1), ("b", 2)], [("b", 2)], ["b:2 is a row and a dead letter"]),
    ],
)
def test_rows_are_loaded_or_refused(
    rows: list[tuple[str, int]], letters: list[tuple[str, int | None]], problems: list[str]
) -> None:
    def batch(lines: list[tuple[str, int]] | list[tuple[str, int | None]]) -> pa.RecordBatch:
        return pa.record_batch(
            {
                "file": pa.array([file for file, _ in lines], pa.string()),
                "line": pa.array([n for _, n in lines], pa.int64()),
            }
        )

    numbers = FileNumbers()
    refused = joined([numbers.of(batch(letters))])
    found = loaded_and_refused(lambda: [numbers.of(batch(rows))], len(rows), refused, numbers)
    assert (found.words, found.count) == (problems, len(problems))


@pytest.mark.parametrize(
    ("travels", "count", "home", "right"),
    [
        (["Sydney", "Perth"], 2, "Perth", True), ([], 0, None, True), ([], 0, "", True), (["Sydney"], 2, None, False),
        (["Sydney"], 1, "Perth", False), ([], 0, "Perth", False),
    ],
)  # fmt: skip
def test_travels(travels: list[str], count: int, home: str | None, right: bool) -> None:
    good = {"travel_array": ["Perth"], "travel_count": 1, "home_city": "Perth"}
    row = {"travel_array": travels, "travel_count": count, "home_city": home}
    batch = pa.RecordBatch.from_pylist([good, good, row, good])
    assert wrong_travels(batch).to_pylist() == [False, False, not right, False]
    assert wrong_travels(batch.slice(2)).to_pylist() == [not right, False], "a part of a batch"


@pytest.mark.parametrize(
    ("zones", "right"),
    [([1, 2, 3], True), ([1, 2], False), ([1, 2, 3, 3], False), ([1, 2, 4], False), ([1, 1, 2], False)],
)
def test_every_zone_is_in_every_week(zones: list[int], right: bool) -> None:
    good = [{"month": JULY, "week": WEEK, "zone_id": zone} for zone in (1, 2, 3)]
    rows = pa.RecordBatch.from_pylist([*good, *[{"month": JUNE, "week": WEEK, "zone_id": zone} for zone in zones]])
    weeks = Weeks(np.array([1, 2, 3]))
    weeks.add(rows.slice(0, 2))
    weeks.add(rows.slice(2))
    distinct = len(set(zones) & {1, 2, 3})
    wrong = f"month 2026-06, week 2026-06-29: {distinct} zones in {len(zones)} rows, not 3"
    assert weeks.wrong() == ([] if right else [wrong])


@pytest.mark.parametrize(
    ("pairs", "problems"),
    [([(1, 2), (1, 3)], 0), ([(2, 1)], 1), ([(1, 1)], 1), ([(1, 2), (1, 2)], 1), ([(2, 1), (2, 1)], 3), ([], 0)],
)
def test_pairs(pairs: Pairs, problems: int) -> None:
    assert wrong_pairs(lambda: [keys(pairs)], len(pairs)).count == problems


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A newest date of each mart with a wrong row, and many right ones."""
    lake = Lake(Settings(home=tmp_path, lake_uri=str(tmp_path / "lake")))
    count, day = 10_000, date(2026, 7, 3)
    users = pa.array([*range(count), 7], pa.int64())
    stg = {"folder_date": [day] * (count + 1), "file": [f"date={day}/a.json"] * (count + 1), "line": [*range(count), 3]}
    letter = {"domain": ["community"], "file": [f"date={day}/a.json"], "line": [5]}
    travels = {
        "travel_array": [["Perth"]] * (count + 1),
        "travel_count": [1] * count + [2],
        "home_city": ["Perth"] * (count + 1),
    }
    tables = {
        STG_EVENTS: stg, DEAD_LETTERS: letter, USERS_MART: {"calculation_date": [day] * (count + 1), "user_id": users, **travels},
        FRIEND_RECOMMENDATIONS: {
            "calculation_date": [day] * (count + 1), "user_left": users, "user_right": pa.array([*range(1, count + 1), 8]),
        },
    }  # fmt: skip
    for table, values in tables.items():
        old = {"calculation_date": [day - timedelta(days=1)]} if "calculation_date" in values else None
        rows = pa.table(values)
        if old:  # an earlier date does not count
            earlier = rows.slice(count - 1, 2).set_column(0, "calculation_date", pa.array(old["calculation_date"] * 2))
            rows = pa.concat_tables([rows, earlier])
        write_deltalake(table.uri(lake.settings), rows, partition_by=list(table.partition_by))
    return lake


def test_the_checks_find_wrong_rows_among_many(lake: Lake) -> None:
    def of(check: Any) -> tuple[bool, str | None, dict[str, Any]]:
        found = check(lake)
        return found.passed, found.description, {name: value.value for name, value in found.metadata.items()}

    name = "date=2026-07-03/a.json"
    assert of(checks.each_row_is_loaded_or_refused) == (
        False, f"{name}:3 is loaded 2 times; {name}:5 is a row and a dead letter",
        {"rows": 10_001, "dead_letters": 1, "problems": 2},
    )  # fmt: skip
    assert of(checks.travels_are_counted) == (
        False, "user 7 has 2 rows; user 7: travel_count 2, 1 cities", {"users": 10_001, "problems": 2}
    )  # fmt: skip
    assert of(checks.pairs_once_and_in_order) == (False, "a pair is there 2 times", {"pairs": 10_001, "problems": 1})


def test_the_checks_have_nothing_to_say_of_tables_that_are_not_there(tmp_path: Path) -> None:
    lake = Lake(Settings(home=tmp_path, lake_uri=str(tmp_path / "lake")))
    names = (
        "each_row_is_loaded_or_refused",
        "travels_are_counted",
        "every_zone_in_every_week",
        "pairs_once_and_in_order",
        "no_pair_ever_wrote",
    )
    for name in names:
        assert getattr(checks, name)(lake).passed, name
