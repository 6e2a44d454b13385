"""Shoppers who look at items and order some, sent as their browsers' tags do: `GET /csc-event` requests."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import mmh3
from yarl import URL

from shop_streams.settings import Settings
from shop_streams.simulate.send import Request
from shop_streams.simulate.send import send as send_each

ENDPOINT_OF_THE_TAG = "/csc-event"
ITEM_PATH = "/katalog/item/"  # the default of the setting `item_path`
SHOPS = ("shop.example", "outlet.shop.example:8443")
ITEMS = 40
SHOPPERS = 500
SPAN = 22 * 3_600_000  # milliseconds in which sessions begin; the last of them ends within a day
MOST_PAGES = 8
LONGEST_GAP = 12 * 60_000  # shorter than the half hour that ends a session
BUY_SHARE = 0.25  # of the item pages
REPEAT_SHARE = 0.03
CORRUPT_SHARE = 0.01
OTHER_PAGES = ("/", ITEM_PATH, "/basket/", "/katalog/", f"{ITEM_PATH}item-1/reviews/")
SCREENS = ((1920, 1080), (1280, 800), (390, 844))
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ROUBLES = "\u0440\u0443\u0431."

Click = dict[str, Any]


def spellings(cents: int) -> list[str]:
    """A price in the spellings of several countries' shops."""
    whole, rest = divmod(cents, 100)
    thousands = f"{whole:,}"
    spaced, dotted = thousands.replace(",", "\u00a0"), thousands.replace(",", ".")
    if rest:
        return [f"{spaced},{rest:02} €", f"{thousands}.{rest:02}", f"{dotted},{rest:02} €", f"$ {thousands}.{rest:02}"]
    return [f"{spaced} {ROUBLES}", f"€ {whole}", f"${thousands}", f"{whole}.-", f"{whole}.00", f"{whole:,} {ROUBLES}"]


def clicks(count: int, seed: int, start: datetime, span: int = SPAN) -> Iterator[Click]:
    """`count` clicks, session by session. The sessions begin within `span` ms from `start`; by default, they fill a day.

    A click has what its request says, times in epoch milliseconds. For a test's expectation it also has what the statistics
    should read from it: `shop`, `item_id` (None on other pages), `order_price` and `order_amount` (None unless it is an order),
    `corrupt` (its checksum is wrong; the sound one follows) and `repeat` (the same click was sent before).
    """
    source = random.Random(f"clicks {seed}")
    base = int(start.timestamp() * 1000)
    known: set[str] = set()
    made = 0
    while made < count:
        shopper = random.Random(f"shopper {seed} {source.randrange(SHOPPERS)}")
        party = f"0:{base36(base - shopper.randrange(10**10))}:{_letters(shopper, 32)}"
        begin = base + made * span // count
        for click in _session(source, party, begin, party not in known):
            known.add(party)
            chance = source.random()
            copies = [click]
            if chance < REPEAT_SHARE:
                copies = [click, click | {"repeat": True}]
            elif chance < REPEAT_SHARE + CORRUPT_SHARE:
                copies = [click | {"corrupt": True}, click]
            for copy in copies[: count - made]:
                yield copy
                made += 1
            if made == count:
                return


def _session(source: random.Random, party: str, begin: int, is_new: bool) -> Iterator[Click]:
    """Page views, and orders between them."""
    session = f"0:{base36(begin)}:{_letters(source, 32)}"
    shop, screen = source.choice(SHOPS), source.choice(SCREENS)
    moment, referer = begin, "https://search.example/?q=shoes"
    for number in range(source.randint(1, MOST_PAGES)):
        item = f"item-{source.randrange(ITEMS)}" if source.random() < 0.7 else None
        if item == "item-3":
            item = "größe 3/4"  # the browser encodes it
        path = f"{ITEM_PATH}{quote(item, safe='')}{source.choice(('/', '', '/?from=list#price'))}" if item else ""
        location = f"https://{shop}{path or source.choice(OTHER_PAGES)}"
        page_view = f"0:{_letters(source, 32)}"
        page = {
            "party": party, "session": session, "page_view": page_view, "event_id": f"{page_view}0",
            "client_timestamp": moment, "is_new_party": is_new and number == 0, "is_first_in_session": number == 0,
            "type": "pageView", "location": location, "referer": referer, "viewport": (screen[0] - 20, screen[1] - 120),
            "screen": screen, "pixel_ratio": source.choice((1, 2, 1.5)), "parameters": None,
            "shop": shop, "item_id": item, "order_price": None, "order_amount": None, "corrupt": False, "repeat": False,
        }  # fmt: skip
        yield page
        if item and source.random() < BUY_SHARE:
            moment += source.randint(1000, 60_000)
            order = _order(source, item)
            yield page | order | {
                "event_id": f"{page_view}1", "client_timestamp": moment, "type": "buy_button_click",
                "is_new_party": False, "is_first_in_session": False,
            }  # fmt: skip
        moment += source.randint(2000, LONGEST_GAP)
        referer = location


def _order(source: random.Random, item: str) -> Click:
    """Price and amount, as texts of the page or, from some pages, as numbers."""
    cents = 100 * (1 + sum(item.encode()) * 7 % 4000) + source.choice((0, 0, 50, 99))
    amount = source.choice((1, 1, 1, 2, 5, 12))
    as_numbers = source.random() < 0.2
    price: Any = cents / 100 if as_numbers else source.choice(spellings(cents))
    parameters = {"price": price, "amount": amount if as_numbers else str(amount)}
    return {"parameters": parameters, "order_price": str(Decimal(cents) / 100), "order_amount": amount}


def _letters(source: random.Random, length: int) -> str:
    return "".join(source.choices(DIGITS, k=length))


def base36(number: int) -> str:
    """The number in base 36, as JavaScript's `toString(36)`."""
    if number < 0:
        return f"-{base36(-number)}"
    head, last = divmod(number, 36)
    return (base36(head) if head else "") + DIGITS[last]


def mincode(value: Any) -> str:
    """A JSON value as the tag writes it into `u`."""
    return _mincode(value, "")


def _mincode(value: Any, name: str) -> str:
    match value:
        case None | True | False:
            return f"{ {None: 'n', True: 't', False: 'f'}[value] }{name}"
        case str():
            return f"s{name}{_text(value)}"
        case int():
            return f"d{name}{base36(value)}!"
        case float():
            return f"j{name}{json.dumps(value)}!"
        case Mapping():
            return f"({name}{''.join(_mincode(one, _text(key)) for key, one in value.items())})"
        case _:
            return f"a{name}{''.join(_mincode(one, '') for one in value)}."


def _text(value: str) -> str:
    return value.replace("~", "~~").replace("!", "~!") + "!"


def query(click: Click) -> str:
    """The query of the click's request, percent-encoded, with its checksum."""
    texts = {
        "p": click["party"], "s": click["session"], "v": click["page_view"], "e": click["event_id"],
        "c": base36(click["client_timestamp"]), "n": "ft"[click["is_new_party"]], "f": "ft"[click["is_first_in_session"]],
        "t": click["type"], "l": click["location"], "r": click["referer"],
        "w": base36(click["viewport"][0]), "h": base36(click["viewport"][1]),
        "i": base36(click["screen"][0]), "j": base36(click["screen"][1]),
        "k": "1.i" if click["pixel_ratio"] == 1.5 else base36(click["pixel_ratio"]),
    }  # fmt: skip
    if click["parameters"] is not None:
        texts["u"] = mincode(click["parameters"])
    canonical = "".join(f"{name}={texts[name]},;" for name in sorted(texts))
    checksum = mmh3.hash(canonical.encode(), 0, signed=True)
    texts["x"] = base36(checksum ^ 1 if click["corrupt"] else checksum)
    return urlencode(texts, quote_via=quote, safe="!~*'()")  # as encodeURIComponent


def send(settings: Settings, count: int, seed: int, start: datetime, rate: float | None = None) -> int:
    """Send `count` clicks through the collector; returns how many it has answered.

    Raises:
        ShopStreamsError: the collector refused a click, or accepted none for 90 s.
    """
    return send_clicks(settings, clicks(count, seed, start), count, rate)


def send_clicks(settings: Settings, some: Iterable[Click], total: int, rate: float | None = None) -> int:
    """As `send`, for given clicks."""
    requests: Iterator[Request] = (
        ("GET", URL(f"{ENDPOINT_OF_THE_TAG}?{query(click)}", encoded=True), {}) for click in some
    )
    return send_each(settings, ENDPOINT_OF_THE_TAG, requests, total, rate)
