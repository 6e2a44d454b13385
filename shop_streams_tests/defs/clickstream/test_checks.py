"""What the checks of the statistics of items say."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.defs.clickstream.checks import differences, impossible, newest_rows
from shop_streams.defs.clickstream.marts import half_hour_totals
from shop_streams.defs.clickstream.schema import ITEM_STATS
from shop_streams.defs.clickstream.serving import MOST, ORDERS, USERS
from shop_streams.lake import reader
from shop_streams.lake.reader import Lake
from shop_streams.settings import Settings

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


def test_only_the_wanted_half_hours_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all files of a year, opening alone takes 7 s for each half hour."""
    lake = Lake(Settings(lake_uri=str(tmp_path)))
    keys = [f"2026-03-10-{hour:02}:00" for hour in range(9)]
    rows = [ROW | {"half_hour": key, "views": hour, "source_rows": 1} for hour, key in enumerate(keys)]
    write_deltalake(ITEM_STATS.uri(lake.settings), pa.Table.from_pylist(rows), partition_by=["half_hour"])
    opened = 0
    real = reader._dataset

    def counting(*args: Any) -> Any:
        nonlocal opened
        found = real(*args)
        opened += len(found.files)
        return found

    monkeypatch.setattr(reader, "_dataset", counting)
    assert half_hour_totals(lake, keys[4]) == {"views": 4, "orders": 3, "order_sum": 9.5, "mean_depth": 1.5}
    assert opened == 1
    assert sorted(row["half_hour"] for row in newest_rows(lake, keys[2:5])) == keys[2:5]
    assert opened == 4
    assert newest_rows(lake, ["2020-01-01-00:00"]) == newest_rows(lake, []) == []
    assert half_hour_totals(lake, "2020-01-01-00:00") == {"views": 0, "orders": 0, "order_sum": 0}
