"""What the checks of the statistics of items say."""

from typing import Any

import pytest

from shop_streams.defs.clickstream.checks import differences, impossible
from shop_streams.defs.clickstream.serving import MOST, ORDERS, USERS

ROW: dict[str, Any] = {
    "half_hour": "2026-03-10-23:30", "shop": "a", "item_id": "1", "views": 2, "deep": 1.5, "orders": 3, "order_sum": 9.5,
}  # fmt: skip
END = 1_773_187_200  # 2026-03-11T00:00Z


def test_rows_that_differ_are_named() -> None:
    many = {**ROW, "item_id": "2", "views": 0, "deep": None, "orders": MOST + 1}
    assert differences(USERS, [ROW, many], [(END, "a", "1", 2, 1.5)]) == []
    assert differences(ORDERS, [ROW, many], [(END, "a", "1", 3, 9.5), (END, "a", "2", MOST, 9.5)]) == []
    assert differences(USERS, [ROW], [(END, "a", "1", 2, 1.25)]) == [
        f"users lacks ({END}, 'a', '1', 2, 1.5)",
        f"users has ({END}, 'a', '1', 2, 1.25), the lake does not",
    ]
    assert differences(ORDERS, [], [(END, "a", "1", 3, 9.5)]) == [
        f"orders has ({END}, 'a', '1', 3, 9.5), the lake does not"
    ]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, False),
        ({"views": 0, "deep": None}, False),
        ({"orders": 0}, False),
        ({"deep": 0.5}, True),
        ({"deep": None}, True),
        ({"views": 0}, True),
        ({"orders": -1}, True),
        ({"views": 0, "deep": None, "orders": 0}, True),
    ],
)
def test_impossible_rows(change: dict[str, Any], wrong: bool) -> None:
    assert bool(impossible([ROW | change])) == wrong
