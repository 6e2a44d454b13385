"""The demo's clicks: three hours of shoppers, and what PostgreSQL must then have of them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import psycopg2

from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.simulate import clickstream

# Of a stack that the demo starts: a shop to click through, simulated clicks hours ago, and numbers that follow the clicks.
SETTINGS = {"demo_shop": True, "click_event_time": "client", "mart_refresh_seconds": 20}
CLICKS = 2_000
SENT_AGO = timedelta(hours=3)  # the last session ends within that
SPAN = 3_600_000  # milliseconds in which sessions begin


class Totals(NamedTuple):
    """Page views, ordered pieces and money of each (shop, item)."""

    views: Counter[tuple[str, str]]
    orders: Counter[tuple[str, str]]
    money: dict[tuple[str, str], Decimal]


def send_clicks(settings: Settings, seed: int) -> Totals:
    """Send the clicks; returns what they add to each item. Corrupt clicks and repeats count nowhere."""
    clicks = list(clickstream.clicks(CLICKS, seed, datetime.now(UTC) - SENT_AGO, SPAN))
    clickstream.send_clicks(settings, clicks, len(clicks))
    added = Totals(Counter(), Counter(), {})
    for click in clicks:
        if click["item_id"] is None or click["corrupt"] or click["repeat"]:
            continue
        item = (click["shop"], click["item_id"])
        if click["type"] == "pageView":
            added.views[item] += 1
        elif click["order_price"] is not None:
            added.orders[item] += click["order_amount"]
            sold = Decimal(click["order_price"]) * click["order_amount"]
            added.money[item] = added.money.get(item, Decimal(0)) + sold
    return added


def served(settings: Settings) -> Totals:
    """The totals of the simulated shops in PostgreSQL; empty before the first half hour is computed."""
    question = "select url, item_id, sum(count), {} from {} where url = any(%s) group by 1, 2"
    try:
        with transaction(settings.postgres) as cursor:
            cursor.execute(question.format("0", "users"), (list(clickstream.SHOPS),))
            views = Counter({(shop, item): int(count) for shop, item, count, _ in cursor.fetchall()})
            cursor.execute(question.format("sum(sum::numeric)", "orders"), (list(clickstream.SHOPS),))
            orders = cursor.fetchall()
    except psycopg2.errors.UndefinedTable:
        return Totals(Counter(), Counter(), {})
    return Totals(
        views,
        Counter({(shop, item): int(count) for shop, item, count, _ in orders}),
        {(shop, item): Decimal(money) for shop, item, _, money in orders},
    )


def together(one: Totals, other: Totals) -> Totals:
    """The sum of two totals."""
    items = one.money.keys() | other.money.keys()
    money = {item: one.money.get(item, Decimal(0)) + other.money.get(item, Decimal(0)) for item in items}
    return Totals(one.views + other.views, one.orders + other.orders, money)


def same(one: Totals, other: Totals) -> bool:
    """Whether two totals are equal, money to a hundredth: PostgreSQL has it as a double."""
    cents = [{item: round(money, 2) for item, money in totals.money.items()} for totals in (one, other)]
    return (one.views, one.orders, cents[0]) == (other.views, other.orders, cents[1])
