"""DuckDB over the clicks that were acknowledged, against the lake and PostgreSQL: 0 lost, 0 twice, and both stores agree."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.defs.clickstream.schema import CLICKS, ITEM_STATS
from shop_streams.lake import reader
from shop_streams.postgres import transaction
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams_tests.faults.clicks import shop_of
from shop_streams_tests.faults.ledger import Ledger
from shop_streams_tests.harness import Stack

Row = tuple[Any, ...]

# A view's depth is the number of page views of its session up to it. The shop's clock decides into which half hour a click
# falls, so only sums over half hours are known here; the half hours themselves are compared between the two stores.
EXPECTED = """
with numbered as (
    select *, sum((type = 'pageView')::int) over (partition by session order by number) as depth from clicks)
select item_id, count(*) filter (type = 'pageView') as views,
       coalesce(sum(depth) filter (type = 'pageView'), 0)::bigint as depths,
       coalesce(sum(order_amount), 0)::bigint as orders,
       coalesce(sum(order_price::decimal(12, 2) * order_amount), 0)::decimal(18, 2) as order_sum
from numbered where item_id is not null group by 1 order by 1
"""
COMPUTED = """
select item_id, sum(views)::bigint, round(sum(coalesce(deep, 0) * views))::bigint, sum(orders)::bigint,
       sum(order_sum)::decimal(18, 2)
from stats group by 1 order by 1
"""
END = "epoch(strptime(half_hour, '%Y-%m-%d-%H:%M'))::bigint + 1800"
SERVED = {
    "users": f"select {END}, shop, item_id, views, deep from stats where views > 0 order by all",
    "orders": f"select {END}, shop, item_id, orders, order_sum from stats where orders > 0 order by all",
}
COLUMNS = {"users": "ts, url, item_id, count, deep", "orders": "ts, url, item_id, count, sum"}


def click_differences(stack: Stack, ledger: Ledger) -> Iterator[str]:
    """Each way in which clicks, dead letters, statistics and PostgreSQL differ from the ledger; nothing when all is right."""
    settings, shop = stack.settings, shop_of(ledger)
    rows = reader.scan(CLICKS.uri(settings), ["event_id", "corrupt"], pc.field("shop") == shop)
    arrived = set(rows.filter(pc.invert(rows["corrupt"]))["event_id"].to_pylist())
    yield from compared("clicks", {click["event_id"] for click in ledger.clicks}, arrived)
    yield from compared("broken clicks", set(ledger.broken_clicks), _refused(stack, shop))

    database = duckdb.connect()
    names = ("session", "type", "item_id", "order_price", "order_amount")
    numbered = [{name: click[name] for name in names} | {"number": n} for n, click in enumerate(ledger.clicks)]
    database.register("clicks", pa.Table.from_pylist(numbered, CLICK_TYPES))
    columns = [column.name for column in ITEM_STATS.columns]
    database.register("stats", reader.scan(ITEM_STATS.uri(settings), columns, pc.field("shop") == shop))
    expected = database.execute(EXPECTED).fetchall()
    yield from differing("clickstream/item_stats", expected, database.execute(COMPUTED).fetchall())
    for table, question in SERVED.items():
        yield from differing(f"PostgreSQL {table}", database.execute(question).fetchall(), _served(stack, table, shop))


CLICK_TYPES = pa.schema(
    {
        "session": pa.string(), "type": pa.string(), "item_id": pa.string(), "order_price": pa.string(),
        "order_amount": pa.int64(), "number": pa.int64(),
    }
)  # fmt: skip


def compared(what: str, wanted: set[str], found: set[str]) -> Iterator[str]:
    """0 lost, 0 that nobody sent."""
    for problem, wrong in (("lost", wanted - found), ("never sent", found - wanted)):
        if wrong:
            yield f"{len(wrong)} {what} {problem}, the first: {min(wrong)}"


def differing(what: str, expected: list[Row], found: list[Row]) -> Iterator[str]:
    """The rows that are in one of both alone."""
    if expected != found:
        lacking, more = sorted(set(expected) - set(found), key=str), sorted(set(found) - set(expected), key=str)
        yield f"{what}: {len(found)} rows, expected {len(expected)}; lacks {lacking[:2]}; has {more[:2]}"


def _refused(stack: Stack, shop: str) -> set[str]:
    """Event ids, from the headers, of the shop's dead letters. A corrupt copy of an order has no other id than the sound one."""
    letters = reader.scan(DEAD_LETTERS.uri(stack.settings), ["raw", "headers"], pc.field("domain") == "clickstream")
    return {
        header["value"].decode()
        for letter in letters.to_pylist()
        if letter["raw"] and shop.encode() in letter["raw"]
        for header in letter["headers"] or ()
        if header["key"] == "event_id"
    }


def _served(stack: Stack, table: str, shop: str) -> list[Row]:
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(f"select {COLUMNS[table]} from {table} where url = %s", (shop,))
        return sorted(cursor.fetchall())
