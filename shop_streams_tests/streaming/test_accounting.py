"""The accounting of offsets finds whatever is missing or twice."""

import pytest

from shop_streams.streaming.checks import PartitionAccount


@pytest.mark.parametrize(
    ("account", "exact", "in_flight"),
    [
        (PartitionAccount(0, 0, 0, 0, 0, 0, None, None), True, 0),
        (PartitionAccount(0, 0, 10, 0, 0, 0, None, None), True, 10),
        (PartitionAccount(0, 0, 10, 7, 3, 10, 0, 9), True, 0),
        (PartitionAccount(0, 0, 10, 5, 3, 8, 0, 7), True, 2),
        (PartitionAccount(0, 0, 10, 7, 2, 9, 0, 9), False, 0),  # one of ten is missing
        (PartitionAccount(0, 0, 10, 8, 3, 10, 0, 9), False, 0),  # one is there twice
        (
            PartitionAccount(0, 0, 10, 8, 2, 9, 0, 9),
            False,
            0,
        ),  # one missing and one twice: the sum alone is right
        (PartitionAccount(0, 0, 10, 8, 0, 8, 2, 9), False, 0),  # the first two were passed over
        (
            PartitionAccount(0, 5, 10, 10, 0, 10, 0, 9),
            True,
            0,
        ),  # retention took the first five from the topic
    ],
)
def test_account(account: PartitionAccount, exact: bool, in_flight: int) -> None:
    assert (account.exact, account.in_flight) == (exact, in_flight)
