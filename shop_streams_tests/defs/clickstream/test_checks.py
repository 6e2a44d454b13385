"""What the checks of the statistics of items say."""

import tracemalloc
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.defs.clickstream import checks
from shop_streams.defs.clickstream.checks import (
    differences,
    each_half_hour,
    impossible,
    postgres_equals_lake,
    views_have_depth,
)
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
    found = {key: [row["half_hour"] for row in rows] for key, rows in each_half_hour(lake, keys[2:5])}
    assert found == {key: [key] for key in keys[2:5]}
    assert opened == 4
    assert [*each_half_hour(lake, ["2020-01-01-00:00"])] == [("2020-01-01-00:00", [])] and not [
        *each_half_hour(lake, [])
    ]
    assert half_hour_totals(lake, "2020-01-01-00:00") == {"views": 0, "orders": 0, "order_sum": 0}


def store(folder: Path, half_hours: int, items: int) -> tuple[Lake, dict[str, int]]:
    """A mart with as many items in each half hour; and half hour -> source version."""
    lake = Lake(Settings(lake_uri=str(folder)))
    keys = [f"2026-03-{1 + number // 24:02}-{number % 24:02}:00" for number in range(half_hours)]
    rows = [ROW | {"half_hour": key, "item_id": str(item), "source_rows": 1} for key in keys for item in range(items)]
    write_deltalake(ITEM_STATS.uri(lake.settings), pa.Table.from_pylist(rows), partition_by=["half_hour"])
    return lake, dict.fromkeys(keys, 1)


class Served:
    """PostgreSQL with the rows of `store`, which answers for one half hour; one row of orders is missing."""

    def __init__(self, items: int, without: str) -> None:
        self.items, self.without = items, without
        self.answer: list[tuple[Any, ...]] = []

    def execute(self, query: str, given: tuple[int]) -> None:
        numbers = (2, 1.5) if "from users" in query else (3, 9.5)
        self.answer = [(given[0], "a", str(item), *numbers) for item in range(self.items)]
        if "from orders" in query and given[0] == ORDERS.partition(self.without):
            self.answer.pop()

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.answer


def test_both_checks_hold_one_half_hour_in_python_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks: dict[int, list[int]] = {}
    for half_hours in (2, 20):
        lake, versions = store(tmp_path / str(half_hours), half_hours, items=500)
        served = Served(500, without=[*versions][1])
        monkeypatch.setattr(checks, "SERVED", SimpleNamespace(versions=lambda _dsn, known=versions: known))
        monkeypatch.setattr(checks, "transaction", lambda _dsn, cursor=served: nullcontext(cursor))
        views_have_depth(lake=lake), postgres_equals_lake(lake=lake)  # what the first call alone needs
        tracemalloc.start()
        depth: Any = views_have_depth(lake=lake)
        peaks[half_hours] = [tracemalloc.get_traced_memory()[1]]
        tracemalloc.reset_peak()
        equal: Any = postgres_equals_lake(lake=lake)
        peaks[half_hours].append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert depth.passed and depth.metadata["rows"].value == 500 * half_hours
        assert not equal.passed and equal.metadata["half_hours_compared"].value == half_hours
        end = ORDERS.partition(served.without)
        assert equal.description == f"orders lacks ({end}, 'a', '499', 3, 9.5)"
    assert all(many < 2 * few for few, many in zip(*peaks.values(), strict=True)), peaks
