"""The half hours of a lake with clicks: their keys, their versions, and their copy in PostgreSQL."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from shop_streams.defs.clickstream.marts import MART, ClickSource, key_of
from shop_streams.defs.clickstream.partitions import half_hours, window_of
from shop_streams.defs.clickstream.schema import CLICKS, ITEM_STATS
from shop_streams.defs.clickstream.serving import SERVED, end_of
from shop_streams.lake.reader import Lake
from shop_streams.marts import repair
from shop_streams.marts.compare import known
from shop_streams.marts.factory import build_asset
from shop_streams.marts.serve import PostgresCopy
from shop_streams.marts.spec import Mart
from shop_streams.postgres import transaction
from shop_streams.spark import SparkConnect
from shop_streams_tests.defs.clickstream.shoppers import (
    HALF_HOUR,
    HOUR,
    MIDNIGHT,
    MINUTE,
    Click,
    append,
    item_stats,
    numbered,
    random_clicks,
)  # fmt: skip
from shop_streams_tests.harness import Stack

NOON = MIDNIGHT + 12 * HOUR


def test_a_half_hours_key_and_window_are_dagsters() -> None:
    first = half_hours.get_first_partition_window()
    assert first and first.start == datetime(2026, 1, 1, tzinfo=UTC)
    exists = known(half_hours)
    assert [exists(key) for key in ("2025-12-31-23:30", "2026-01-01-00:00", "2999-01-01-00:00")] == [False, True, False]
    for key in ("2026-01-01-00:00", "2026-03-10-23:30"):
        start, end = window_of(key)
        assert (start, end) == tuple(half_hours.time_window_for_partition_key(key))
        assert (key_of(int(start.timestamp()) // 1800), end_of(key)) == (key, int(end.timestamp()))
    assert end_of("2026-03-10-23:30") == 1_773_187_200  # 2026-03-11T00:00Z


# -- the mart itself, by its sensor and its asset, on tables of its own ------------------------------------------------


@dataclass
class Shop:
    """A mart like clickstream's with other names, and what its sensor asks for."""

    stack: Stack
    mart: Mart
    lake: Lake
    instance: dg.DagsterInstance
    clicks: list[Click]

    def arrive(self, *clicks: Click) -> None:
        """Append the clicks to the lake."""
        mine = [replace(one, origin=(one.origin[0], len(self.clicks) + number)) for number, one in enumerate(clicks)]
        self.clicks += mine
        append(self.lake, mine, self.mart.source.table.path)  # type: ignore[attr-defined]

    def repair(self) -> set[str]:
        """One tick of the sensor, and the run that it asks for; the partitions of the run."""
        context = dg.build_sensor_context(instance=self.instance, resources={"lake": self.lake})
        asked: Any = repair.build_repair_sensor(self.mart)(context)
        if not asked.run_requests:
            return set()
        (request,) = asked.run_requests
        before = self.written()
        spark = SparkConnect()
        result = dg.materialize(
            [build_asset(self.mart, ["team:test"])],
            resources={"spark": spark, "lake": self.lake},
            instance=self.instance,
            tags=request.tags,
            run_config=request.run_config,
        )
        spark.spark_session.stop()
        assert result.success
        after = self.written()
        return {key for key in after if after[key] != before.get(key)}

    def written(self) -> dict[str, int]:
        return self.lake.modified_at(self.mart.table)

    def served(self) -> dict[str, Any]:
        """Half hour -> (shop, item) -> views, depth, orders, money, from PostgreSQL."""
        assert self.mart.serve is not None
        users, orders = (table.name for table in self.mart.serve.tables)
        found: dict[str, Any] = {}
        with transaction(self.stack.settings.postgres) as cursor:
            cursor.execute(
                f"select to_char(to_timestamp(ts - 1800) at time zone 'UTC', 'YYYY-MM-DD-HH24:MI'), url, item_id, coalesce(u.count, 0),"
                f" deep, coalesce(o.count, 0), coalesce(sum, 0) from {users} u full join {orders} o using (ts, url, item_id)"
            )
            for key, shop, item, *numbers in cursor.fetchall():
                found.setdefault(key, {})[shop, item] = tuple(numbers)
        return found

    def expected(self) -> dict[str, Any]:
        stats = {one.key: item_stats(self.clicks, one.half) for one in self.clicks}
        return {key: found for key, found in stats.items() if found}


@pytest.fixture
def shop(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr(repair, "streams_first_now", lambda *_: None)
    name = f"test_{uuid4().hex}"
    tables = tuple(replace(table, name=f"{name}_{table.name}") for table in SERVED.tables)
    mart = replace(
        MART,
        table=replace(ITEM_STATS, path=f"clickstream/{name}"),
        source=ClickSource(replace(CLICKS, path=f"clickstream/{name}_clicks"), mart=name),
        serve=PostgresCopy(name, tables),
        totals=lambda _lake, _key: {},
    )
    settings = stack.settings.model_copy(update={"mart_refresh_seconds": 0, "mart_repair_seconds": 0})
    spark = SparkConnect()
    replace(CLICKS, path=f"clickstream/{name}_clicks").create(spark.spark_session, settings)
    spark.spark_session.stop()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Shop(stack, mart, Lake(settings), instance, [])
    with transaction(stack.settings.postgres) as cursor:
        for table in tables:
            cursor.execute(f"drop table if exists {table.name}")
        cursor.execute("delete from served_versions where name = %s", (name,))
        cursor.execute("delete from source_states where mart = %s", (name,))


def test_late_clicks_repair_exactly_the_half_hours_that_they_reach(shop: Shop) -> None:
    buy = Click(NOON, event="buy_button_click", amount=2**31 - 1, price=Decimal("9.50"), session="0:b:s")
    visit = [Click(NOON + minute * MINUTE, item="i" if minute else None) for minute in range(0, 100, 20)]
    alone = [
        Click(NOON + 4 * HOUR, session="0:c:s", item="a\x00b"),
        Click(NOON - HALF_HOUR, session="0:d:s", corrupt=True),
    ]
    shop.arrive(*visit, Click(NOON + 85 * MINUTE), *alone, buy, replace(buy, at=NOON + MINUTE))
    assert shop.repair() == {one.key for one in shop.clicks} - {alone[1].key}
    expected = shop.expected()
    expected[alone[0].key] = {("shop.example", "a\ufffdb"): (1, 1.0, 0, 0.0)}
    pieces = expected[buy.key]["shop.example", "i"]
    expected[buy.key]["shop.example", "i"] = (*pieces[:2], 2**31 - 1, pieces[3])
    assert shop.served() == expected
    assert shop.repair() == set(), "also the half hour with a corrupt click alone is up to date"

    late = Click(NOON + 25 * MINUTE, item="j")  # the third click of a visit that ends at 13:25
    shop.arrive(late)
    assert shop.repair() == {"2026-03-10-12:00", "2026-03-10-12:30", "2026-03-10-13:00"}
    assert shop.served()["2026-03-10-13:00"] == shop.expected()["2026-03-10-13:00"]
    assert shop.repair() == set()

    shop.arrive(replace(late, at=NOON + 5 * HOUR, identity="new"))  # the same session, hours later
    assert shop.repair() == {"2026-03-10-17:00"}

    with transaction(shop.stack.settings.postgres) as cursor:  # a run that was killed between the lake and PostgreSQL
        cursor.execute(
            "update served_versions set version = version - 1 where name = %s and partition = '2026-03-10-12:30'",
            (shop.mart.name.removeprefix("clickstream_"),),
        )
    assert shop.repair() == {"2026-03-10-12:30"}


def test_random_clicks_in_batches_are_served_as_counted_in_plain_python(shop: Shop) -> None:
    clicks = numbered(random_clicks(random.Random(11), 24, 4))
    for first in range(0, len(clicks), 13):
        shop.arrive(*clicks[first : first + 13])
        shop.repair()
        assert shop.served() == shop.expected()
