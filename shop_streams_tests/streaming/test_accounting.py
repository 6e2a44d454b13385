"""The accounting of offsets finds whatever is missing or twice."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.streaming.accounting import PartitionAccount, account_of


def account(low: int, high: int, rows: list[int], letters: list[int], committed: int = 0) -> PartitionAccount:
    return account_of(
        0, low, high, pa.chunked_array([rows], pa.int64()), pa.chunked_array([letters], pa.int64()), committed
    )


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
