"""Shoppers whose browsers send each click until it is answered with 200, and what they know was taken."""

import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from shop_streams.simulate.clickstream import Click, base36, query
from shop_streams_tests.faults.ledger import Ledger

TAKEN_WITHIN_SECONDS = 300
ITEMS = 8
REPEAT_SHARE = 0.05
CORRUPT_SHARE = 0.03
BROKEN_SHARE = 0.1  # of the orders
PRICES = (("1 490,50 €", "1490.50"), ("$12", "12"), ("7.25", "7.25"))  # as the page shows it, and as a number


def shop_of(ledger: Ledger) -> str:
    """The host of the ledger's own shop."""
    return f"{ledger.tag}.example"


def shop(http: httpx.Client, ledger: Ledger, seed: int, over: Callable[[], bool]) -> None:
    """One session after the other until `over()`, which also waits between two clicks.

    A shopper sends a click after the one before was taken, so the order of the clicks is the order of their events, by either clock.
    """
    source = random.Random(seed)
    while not over():
        for click in _session(source, shop_of(ledger)):
            if source.random() < CORRUPT_SHARE:  # a proxy cut it, and the browser sends it again
                send(http, click | {"corrupt": True})
            send(http, click)
            if click["parameters"] and click["order_price"] is None:
                ledger.broken_clicks.append(click["event_id"])
            else:
                ledger.clicks.append(click)
            if source.random() < REPEAT_SHARE:  # a browser that missed the answer
                send(http, click)
            if over():
                return


def _session(source: random.Random, host: str) -> Iterator[Click]:
    def now() -> int:
        return time.time_ns() // 1_000_000

    began = base36(now())
    party, session = f"0:{began}:{uuid.uuid4().hex}", f"0:{began}:{uuid.uuid4().hex}"
    for page in range(source.randint(1, 5)):
        item = f"item-{source.randrange(ITEMS)}" if source.random() < 0.8 else None
        page_view = f"0:{uuid.uuid4().hex}"
        view: Click = {
            "party": party, "session": session, "page_view": page_view, "event_id": f"{page_view}0",
            "client_timestamp": now(), "is_new_party": page == 0, "is_first_in_session": page == 0, "type": "pageView",
            "location": f"https://{host}/katalog/item/{item}/" if item else f"https://{host}/", "referer": f"https://{host}/",
            "viewport": (1280, 800), "screen": (1920, 1080), "pixel_ratio": 1, "parameters": None,
            "item_id": item, "order_price": None, "order_amount": None, "corrupt": False,
        }  # fmt: skip
        yield view
        if item and source.random() < 0.4:
            shown, price = source.choice(PRICES)
            amount = source.randint(1, 3)
            order: dict[str, Any] = {"order_price": price, "order_amount": amount}
            if source.random() < BROKEN_SHARE:
                shown, order = "on request", {}
            parameters = {"price": shown, "amount": str(amount)}
            yield view | order | {
                "event_id": f"{page_view}1", "client_timestamp": now(), "type": "buy_button_click", "parameters": parameters,
            }  # fmt: skip


def send(http: httpx.Client, click: Click) -> None:
    """Send the click until it is answered with 200.

    Raises:
        AssertionError: another answer than promised, or none for 300 s.
    """
    path, began = f"/csc-event?{query(click)}", time.monotonic()
    while time.monotonic() < began + TAKEN_WITHIN_SECONDS:
        try:
            answer = http.get(path)
        except httpx.TransportError:  # the collector may be the one that was killed
            time.sleep(0.2)
            continue
        if answer.status_code == 200:
            return
        assert answer.status_code in (429, 503), f"/csc-event answered {answer.status_code}: {answer.text}"
        time.sleep(0.2)
    raise AssertionError(f"the collector took no click for {TAKEN_WITHIN_SECONDS} s")
