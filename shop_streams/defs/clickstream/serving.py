"""The copy of the statistics in PostgreSQL, which the API reads: page views and orders of items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shop_streams.defs.clickstream.partitions import window_of
from shop_streams.defs.clickstream.schema import ITEM_STATS
from shop_streams.lake.table import Column
from shop_streams.marts.serve import PostgresCopy, PostgresTable

MOST = 2**31 - 1  # PostgreSQL's largest int

Row = Mapping[str, Any]


def end_of(key: str) -> int:
    """The end of a half hour, epoch seconds."""
    return int(window_of(key)[1].timestamp())


def users_row(key: str, row: Row) -> Row | None:
    """The row of `users` for an item of the half hour `key`; None without page views."""
    if not row["views"]:
        return None
    return {**_item(key, row), "count": min(row["views"], MOST), "deep": row["deep"]}


def orders_row(key: str, row: Row) -> Row | None:
    """The row of `orders` for an item of the half hour `key`; None without orders."""
    if not row["orders"]:
        return None
    return {**_item(key, row), "count": min(row["orders"], MOST), "sum": row["order_sum"]}


def _item(key: str, row: Row) -> dict[str, Any]:
    return {"ts": end_of(key), "url": row["shop"], "item_id": row["item_id"]}


_ITEM = (
    Column("ts", "int", "end of the half hour, epoch seconds"),
    Column("url", "text", "host of the shop, with a port that is not the default one"),
    Column("item_id", "text", "the item"),
)
_KEY = ("ts", "url", "item_id")
USERS = PostgresTable(
    "users",
    (
        *_ITEM,
        Column("count", "int not null", f"page views of the item's page; {MOST} stands for more"),
        Column("deep", "float8 not null", "mean depth of these views: page views of the visit up to each"),
    ),
    "ts", _KEY, end_of, users_row,
)  # fmt: skip
ORDERS = PostgresTable(
    "orders",
    (
        *_ITEM,
        Column("count", "int not null", f"ordered pieces; {MOST} stands for more"),
        Column("sum", "float8 not null", "the sum of price x amount"),
    ),
    "ts", _KEY, end_of, orders_row,
)  # fmt: skip
SERVED = PostgresCopy(ITEM_STATS.path.replace("/", "_"), (USERS, ORDERS))
