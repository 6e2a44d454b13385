"""The accounting of offsets finds whatever is missing or twice."""

from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.streaming.accounting import PartitionAccount, account_of


def account(
    low: int, high: int, rows: list[int], letters: list[int], committed: int = 0, without: Sequence[int] = ()
) -> PartitionAccount:
    """The account of a partition that holds a record at each offset but those `without`."""

    def holds(_partition: int, first: int, end: int) -> list[int]:
        return [offset for offset in range(first, end) if offset not in without]

    arrived = (pa.chunked_array([rows], pa.int64()), pa.chunked_array([letters], pa.int64()))
    return account_of(0, low, high, *arrived, committed, holds)


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
    "a transaction's mark at the end": (account(0, 10, TEN[:9], [], without=[9]), True, 0),
    "compaction took three in the middle": (account(0, 10, [*TEN[:3], *TEN[6:]], [], without=[3, 4, 5]), True, 0),
    "a mark, and one missing": (account(0, 10, [*TEN[:3], *TEN[5:]], [], without=[3]), False, 0),
    "a mark among those on their way": (account(0, 10, TEN[:5], [], without=[7]), True, 4),
    "nothing but marks": (account(0, 3, [], [], committed=3, without=[0, 1, 2]), True, 0),
}


@pytest.mark.parametrize("case", CASES)
def test_account(case: str) -> None:
    found, exact, in_flight = CASES[case]
    assert (found.exact, found.in_flight) == (exact, in_flight)


@given(st.integers(0, 30), st.data())
def test_any_single_loss_or_repeat_before_the_last_arrival_is_found(size: int, data: st.DataObject) -> None:
    offsets = list(range(size + 2))
    assert account(0, size + 2, offsets, []).exact
    victim = data.draw(st.sampled_from(offsets[:-1]))
    assert not account(0, size + 2, [one for one in offsets if one != victim], []).exact
    assert not account(0, size + 2, [*offsets, victim], []).exact
