"""The rules of clicks: what a record of the topic `online_store` must be."""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from shop_streams.avro import avro
from shop_streams.defs.clickstream.items import item_page
from shop_streams.defs.clickstream.items import page_address as page_address  # for the collector
from shop_streams.defs.clickstream.prices import MAX_AMOUNT, MAX_DECIMALS, read_amount, read_price
from shop_streams.defs.clickstream.schema import BUY_CLICK, CLICK_SCHEMA
from shop_streams.plain import plain
from shop_streams.rules import LAST_MILLISECOND, Int32, Rules, Times, check_time, microseconds

CLICKED_SINCE = date(2026, 1, 1)  # the collector sets the time, or bounds it: none is older than the domain
_SINCE = microseconds(datetime(CLICKED_SINCE.year, CLICKED_SINCE.month, CLICKED_SINCE.day))

ENCODING = avro(CLICK_SCHEMA)


class Click(msgspec.Struct, rename="camel"):
    """A record of the topic `online_store`, and below what is derived from it.

    `order_price` is a decimal number as text. Both numbers of an order are null unless an item was ordered on its page.
    """

    timestamp: int  # milliseconds since 1970
    event_type: str | None = None
    location: str | None = None
    session_id: str | None = None
    price: str | None = None
    amount: str | None = None

    shop: str | None = None
    item_id: str | None = None
    order_price: str | None = None
    order_amount: Int32 | None = None


def click_rules(item_path: str) -> Rules:
    """The rules, for a shop whose items have pages below `item_path`."""

    def derive(click: Click) -> None:
        click.shop, click.item_id = item_page(click.location, item_path)
        if orders_item(click):
            price = None if click.price is None else read_price(click.price)
            click.order_price = None if price is None else f"{price:f}"
            click.order_amount = None if click.amount is None else read_amount(click.amount)

    return Rules(Click, {"timestamp": check_click_time}, whole=check_order, derive=derive, encoding=ENCODING)


def orders_item(click: Click) -> bool:
    """Whether the buy button was clicked on an item's page; elsewhere a click on it is no order."""
    return click.event_type == BUY_CLICK and click.item_id is not None


def check_click_time(milliseconds: int, times: Times) -> str | None:
    """Check a click's time; any producer may write any time."""
    moment = milliseconds * 1000
    if times.first <= moment < _SINCE:
        return f"is before {CLICKED_SINCE}, when there was no clickstream"
    if milliseconds > LAST_MILLISECOND:
        return "is after the year 9999"
    return check_time(moment, times)


def check_order(click: Click) -> tuple[str, str] | None:
    """Check that an order has a price and an amount."""
    if not orders_item(click):
        return None
    problems = []
    if click.order_price is None:
        problems.append(
            ("price", _words(click.price, f"is no price: one number from 0, at most {MAX_DECIMALS} decimals"))
        )
    if click.order_amount is None:
        problems.append(("amount", _words(click.amount, f"is no whole number from 1 to {MAX_AMOUNT}")))
    if not problems:
        return None
    (name, words), *more = problems
    return name, "; ".join([words, *(f"{other} {its}" for other, its in more)])


def _words(value: str | None, wrong: str) -> str:
    return "is missing" if value is None else f"{plain(value)!r} {wrong}"
