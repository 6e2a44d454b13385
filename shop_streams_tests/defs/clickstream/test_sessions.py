"""The depth of page views: a table of cases, and random clicks against plain Python."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.clickstream.schema import MAX_ITEM_ID, MAX_SHOP
from shop_streams.defs.clickstream.sessions import item_stats
from shop_streams_tests.defs.clickstream import shoppers as oracle
from shop_streams_tests.defs.clickstream.shoppers import (
    DAY,
    HALF_HOUR,
    HOUR,
    MIDNIGHT,
    MILLISECOND,
    MINUTE,
    Click,
    numbered,
    random_clicks,
    table_of,
)  # fmt: skip

NOON = MIDNIGHT + 12 * HOUR
VIEW = Click(NOON)
BUY = replace(VIEW, event="buy_button_click", amount=2, price=Decimal("9.50"))
OTHER = replace(VIEW, item=None)  # a page that is no item's


def at(click: Click, after: int, **changes: Any) -> Click:
    """The click, `after` microseconds later."""
    return replace(click, at=click.at + after, **changes)


# What it is; the clicks, in the order of arrival; the mean depth of the item "i" in the half hour that begins at noon.
CASES: list[tuple[str, list[Click], float | None]] = [
    ("one view", [VIEW], 1),
    ("three views of one visit: 1, 2 and 3", [VIEW, at(VIEW, MINUTE), at(VIEW, 2 * MINUTE)], 2),
    ("views of other pages count", [OTHER, at(OTHER, MINUTE), at(VIEW, 2 * MINUTE)], 3),
    ("views of other hosts count", [replace(VIEW, shop="other.example"), at(VIEW, MINUTE)], 2),
    ("views without a location count", [replace(OTHER, shop=None), at(VIEW, MINUTE)], 2),
    ("other events do not count", [replace(VIEW, event="scroll"), replace(VIEW, event=None), at(VIEW, MINUTE)], 1),
    ("late arrival counts by its event time", [at(VIEW, MINUTE), OTHER], 2),
    ("a view after this one does not count", [VIEW, at(OTHER, MINUTE)], 1),
    ("a gap of exactly 30:00.000 goes on", [at(OTHER, -20 * MINUTE), at(VIEW, 10 * MINUTE)], 2),
    ("a gap of 30:00.001 ends the visit", [at(OTHER, -20 * MINUTE - MILLISECOND), at(VIEW, 10 * MINUTE)], 1),
    ("also by one microsecond", [at(OTHER, -20 * MINUTE - 1), at(VIEW, 10 * MINUTE)], 1),
    ("a visit over three half hours", [at(OTHER, -50 * MINUTE), at(OTHER, -25 * MINUTE), VIEW], 3),
    ("a late click joins two visits", [at(OTHER, -50 * MINUTE), VIEW, at(OTHER, -25 * MINUTE)], 3),
    ("any event joins them", [at(OTHER, -50 * MINUTE), VIEW, at(OTHER, -25 * MINUTE, event="scroll")], 2),
    ("a buy click joins them", [at(OTHER, -50 * MINUTE), VIEW, at(BUY, -25 * MINUTE)], 2),
    ("a corrupt click does not", [at(OTHER, -50 * MINUTE), VIEW, at(OTHER, -25 * MINUTE, corrupt=True)], 1),
    ("another session does not", [at(OTHER, -MINUTE, session="0:a:t"), VIEW], 1),
    ("one session id of two browsers is one session", [at(OTHER, -MINUTE, identity="p"), replace(VIEW, identity="q")], 2),
    ("no session: each stands alone", [at(OTHER, -MINUTE, session=None), replace(VIEW, session=None)], 1),
    ("ties by offset: the other page was first", [OTHER, VIEW], 2),
    ("ties by offset: the item was first", [VIEW, OTHER], 1),
    ("a repeat counts once", [replace(VIEW, identity="x")] * 2 + [at(VIEW, MINUTE)], 1.5),
    ("a repeat is no activity", [replace(OTHER, at=NOON - 50 * MINUTE, identity="x"), at(OTHER, -25 * MINUTE, identity="x"), VIEW], 1),
    ("a corrupt copy does not make a repeat", [at(VIEW, -MINUTE, identity="x", corrupt=True), replace(VIEW, identity="x")], 1),
    ("a copy of the day before makes a repeat", [at(VIEW, -DAY - HOUR, identity="x"), replace(VIEW, identity="x")], None),
    ("also exactly 7 days before", [at(VIEW, -7 * DAY, identity="x"), replace(VIEW, identity="x")], None),
    ("not earlier than that", [at(VIEW, -7 * DAY - 1, identity="x"), replace(VIEW, identity="x")], 1),
    ("copies 4 and 8 days before: a repeat of a repeat",
     [at(VIEW, -8 * DAY, identity="x"), at(VIEW, -4 * DAY, identity="x"), replace(VIEW, identity="x")], None),
    ("no identity: each counts", [VIEW, VIEW], 1.5),
    ("a visit longer than 24 hours counts from there", [at(OTHER, -24 * HOUR - 20 * MINUTE + n * 20 * MINUTE) for n in range(73)] + [VIEW], 73),
    ("copies count before these 24 hours too",
     [at(OTHER, -6 * DAY, identity="x"), at(OTHER, -MINUTE, identity="x"), VIEW], 1),
]  # fmt: skip


def stats(spark: SparkSession, clicks: Sequence[Click], half: int, hours: int = 24) -> oracle.Stats:
    """The statistics of a half hour, by Spark."""
    return stats_of(frame(spark, clicks), half, hours)


def frame(spark: SparkSession, clicks: Sequence[Click]) -> DataFrame:
    return spark.createDataFrame(table_of(clicks))


def stats_of(clicks: DataFrame, half: int, hours: int = 24) -> oracle.Stats:
    start = datetime.fromtimestamp(half * 1800, UTC)
    rows = item_stats(clicks, start, start + timedelta(minutes=30), hours).collect()
    assert len({(row.shop, row.item_id) for row in rows}) == len(rows)
    return {(row.shop, row.item_id): (row.views, row.deep, row.orders, row.order_sum) for row in rows}


def test_the_table_of_cases(spark: SparkSession) -> None:
    """Each case has a shop and sessions of its own, so that Spark computes all of them at once."""
    every: list[Click] = []
    for number, (_, clicks, _) in enumerate(CASES):
        for one in clicks:
            shop = f"shop {number}" if one.shop == VIEW.shop else one.shop
            session, identity = (value and f"{value} {number}" for value in (one.session, one.identity))
            every.append(replace(one, shop=shop, session=session, identity=identity))
    found = stats(spark, numbered(every), VIEW.half)
    for number, (what, _, deep) in enumerate(CASES):
        assert found.get((f"shop {number}", "i"), (0, None))[1] == deep, what
        assert oracle.item_stats(numbered(every), VIEW.half).get((f"shop {number}", "i"), (0, None))[1] == deep, (
            f"oracle: {what}"
        )


@pytest.mark.parametrize("hours", [1, 24])
def test_random_clicks_are_counted_as_in_plain_python(spark: SparkSession, hours: int) -> None:
    clicks = random_clicks(random.Random(hours), 600, 8)
    read = frame(spark, clicks).cache()
    for half in sorted({one.half for one in clicks})[:: 5 if hours == 24 else 9]:
        assert stats_of(read, half, hours) == oracle.item_stats(clicks, half, hours), half


def test_orders_are_counted_whatever_they_say(spark: SparkSession) -> None:
    most = Decimal("999999999999999999.999999999")
    orders = [
        at(BUY, MINUTE), at(BUY, 2 * MINUTE, price=Decimal("0.1"), amount=3), at(BUY, MINUTE, item="j", amount=2**31 - 1),
        at(BUY, 2 * MINUTE, item="j", amount=2**31 - 1), replace(BUY, amount=None, price=None), replace(BUY, item=None),
        *[replace(BUY, item="k", amount=2**31 - 1, price=most)] * 300,
    ]  # fmt: skip
    found = {
        item: (orders, money) for (_, item), (_, _, orders, money) in stats(spark, numbered(orders), BUY.half).items()
    }
    assert found["i"] == (5, 19.3)
    assert found["j"] == (2**32 - 2, 9.5 * (2**32 - 2))
    assert found["k"] == (300 * (2**31 - 1), pytest.approx(300 * (2**31 - 1) * 1e18))
    assert found.keys() == {"i", "j", "k"}


def test_texts_that_postgresql_can_not_take_as_a_key(spark: SparkSession) -> None:
    views = [
        replace(VIEW, item="a\x00b"),
        replace(VIEW, item="a\ufffdb"),
        replace(VIEW, item="ж" * 3000, shop="s" * 3000),
    ]
    found = {key: value[0] for key, value in stats(spark, numbered(views), VIEW.half).items()}
    assert found == {("shop.example", "a\ufffdb"): 2, ("s" * MAX_SHOP, "ж" * MAX_ITEM_ID): 1}


def test_the_half_hour_is_half_open(spark: SparkSession) -> None:
    views = [at(VIEW, -1), VIEW, at(VIEW, HALF_HOUR - 1), at(VIEW, HALF_HOUR)]
    assert stats(spark, numbered(views), VIEW.half)[("shop.example", "i")][:2] == (2, 2.5)
