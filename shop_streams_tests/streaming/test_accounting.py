"""The accounting finds whatever is missing or twice, and counts records: an offset may hold none."""

from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import PartitionAccount, TopicAccount, arrivals
from shop_streams.streaming.repeats import duplicates
from shop_streams.streaming.spans import NEAR, merged


def counted(low: int, high: int, offsets: list[int]) -> np.ndarray:
    return np.bincount(np.array(offsets, np.int64) - low, minlength=high - low).astype(np.uint16)


def account(
    low: int,
    high: int,
    rows: list[int],
    letters: list[int],
    committed: int | None = None,
    empty: tuple[int, ...] = (),
    stable: int | None = None,
    forgotten: tuple[int, ...] = (),
) -> PartitionAccount:
    """The account of a partition whose offsets all hold a record, but for `empty`."""
    stable = high if stable is None else stable
    arrived = arrivals(low, high, counted(low, high, rows), counted(low, high, letters), committed)
    arrived = replace(arrived, forgotten=counted(low, high, list(forgotten)))
    held = [one for first, end in arrived.gaps for one in range(first, min(end, stable)) if one not in empty]
    return arrived.account(0, held, stable)


TEN = list(range(10))
CASES = {
    "an empty topic": (account(0, 0, [], []), True, 0),
    "nothing arrived yet": (account(0, 10, [], []), True, 10),
    "seven rows and three dead letters": (account(0, 10, TEN[:7], TEN[7:]), True, 0),
    "two are on their way": (account(0, 10, TEN[:5], TEN[5:8]), True, 2),
    "one of ten is missing": (account(0, 10, TEN[:4] + TEN[5:], []), False, 0),
    "one is there twice": (account(0, 10, [*TEN, 3], []), False, 0),
    "one missing and one twice: the sum alone is right": (account(0, 10, [0, 0, *TEN[2:]], []), False, 0),
    "a row that is a dead letter too": (account(0, 10, TEN, [4]), False, 0),
    "the first two were passed over": (account(0, 10, TEN[2:], []), False, 0),
    "retention took the first five from the topic": (account(5, 10, TEN[5:], []), True, 0),
    "committed, but never arrived": (account(0, 10, TEN[:8], [], committed=10), False, 0),
    "a batch that has written its rows and not yet its dead letters": (account(0, 10, TEN[:6] + TEN[8:], [], 5), True, 2),
    "a transaction's mark at the end": (account(0, 10, TEN[:9], [], empty=(9,)), True, 0),
    "a mark in the middle, which the stream has passed": (account(0, 10, TEN[:4] + TEN[5:], [], 10, (4,)), True, 0),
    "a mark beside a record that is missing": (account(0, 10, TEN[:4] + TEN[6:], [], 10, (4,)), False, 0),
    "only marks are left to come": (account(0, 10, TEN[:8], [], 8, (8, 9)), True, 0),
    "the last three are of an open transaction": (account(0, 10, TEN[:7], [], stable=7), True, 3),
    "three rows were removed with a person's": (account(0, 10, TEN[3:], [], 10, forgotten=(0, 1, 2)), True, 0),
    "a removal was interrupted: recorded, and not deleted yet": (account(0, 10, TEN, [], 10, forgotten=(4, 5)), True, 0),
    "one was removed, another one is missing": (account(0, 10, TEN[2:], [], 10, forgotten=(0,)), False, 0),
    "a removed one came back, and is there twice": (account(0, 10, [*TEN, 3], [], 10, forgotten=(3,)), False, 0),
    "a removed letter beside what is in flight": (account(0, 10, TEN[:5], [], 6, forgotten=(5,)), True, 4),
    "many are in flight": (account(0, 500_000, TEN, []), True, 499_990),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_account(case: str) -> None:
    found, exact, in_flight = CASES[case]
    assert (found.exact, found.in_flight) == (exact, in_flight)


def test_forgotten_records_are_records_and_no_gap_is_read_for_them() -> None:
    found = account(0, 10, TEN[3:8], [8], 10, forgotten=(0, 1, 2, 9))
    assert (found.records, found.rows, found.dead_letters, found.forgotten, found.missing) == (10, 5, 1, 4, 0)
    assert TopicAccount([found]).sums["forgotten"] == 4 and TopicAccount([found]).exact
    between = account(0, 10, [0, 1, 2, *TEN[6:]], [], 10, forgotten=(4,))  # offsets 3 to 5 are read as one range
    assert (between.missing, between.forgotten, between.records) == (2, 1, 10)
    arrived = arrivals(0, 10, counted(0, 10, TEN[3:]), counted(0, 10, []), 10)
    assert replace(arrived, forgotten=counted(0, 10, [0, 1, 2])).gaps == [] and arrived.gaps == [(0, 3)]


@given(st.integers(0, 30), st.data())
def test_any_single_loss_or_repeat_before_the_last_arrival_is_found(size: int, data: st.DataObject) -> None:
    offsets = list(range(size + 2))
    assert account(0, size + 2, offsets, []).exact
    victim = data.draw(st.sampled_from(offsets[:-1]))
    assert not account(0, size + 2, [one for one in offsets if one != victim], []).exact
    assert not account(0, size + 2, [*offsets, victim], []).exact
    words = [
        TopicAccount([account(0, size + 2, given, [])]).problem for given in (offsets, offsets[1:], [*offsets, victim])
    ]
    assert words == [None, "records missing: 1; there twice: 0", "records missing: 0; there twice: 1"]


@given(st.lists(st.integers(0, 10 * NEAR), unique=True).map(sorted))
def test_gaps_are_read_in_ranges_that_cover_them_all_and_stay_apart(offsets: list[int]) -> None:
    ranges = merged(np.array(offsets, np.int64))
    assert [one for one in offsets if not any(first <= one < end for first, end in ranges)] == []
    assert all(first in offsets and end - 1 in offsets for first, end in ranges)
    assert all(later[0] - earlier[1] >= NEAR for earlier, later in pairwise(ranges))


def test_repeats_are_counted_by_id_and_rows_without_an_id_are_no_repeats(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    table = Table("repeats", (), ("day",), "", identity="event_id")
    assert duplicates(table, settings, {0: (2, 8)}) == 0  # there is no table yet
    ids = ["b", None, "a", "a", None, None, "b", "c"]
    rows = {
        "kafka_partition": pa.array([0] * len(ids), pa.int32()),
        "kafka_offset": pa.array(range(len(ids)), pa.int64()),
        "event_id": pa.array(ids, pa.string()),
        "day": pa.array([date(2026, 1, 1)] * len(ids)),
    }
    write_deltalake(table.uri(settings), pa.table(rows), partition_by=["day"])
    assert duplicates(table, settings, {0: (2, 8)}) == 2  # the second a, and the b that was there before
    assert duplicates(replace(table, identity="of_a_later_version"), settings, {0: (2, 8)}) == 0
