"""The oracle over clicks finds each kind of error, and nothing in what is right."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.defs.clickstream.schema import CLICKS, ITEM_STATS
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams_tests.faults import click_oracle, clicks
from shop_streams_tests.faults.ledger import Ledger
from shop_streams_tests.harness import Stack
from shop_streams_tests.patching import replace_in

SHOP = "t.example"
HALF, END = "2026-11-26-10:30", 1_795_690_800


def click(
    event: str, session: str, kind: str, item: str | None, price: str | None = None, amount: int | None = None
) -> Any:
    return {
        "event_id": event,
        "session": session,
        "type": kind,
        "item_id": item,
        "order_price": price,
        "order_amount": amount,
    }


TAKEN = [
    click("a0", "s1", "pageView", None),
    click("a1", "s1", "pageView", "i"),  # depth 2
    click("a2", "s1", "buy_button_click", "i", "1490.50", 2),
    click("b0", "s2", "pageView", "i"),  # depth 1
    click("a3", "s1", "pageView", "j"),  # depth 3
]
STATS = [
    {"half_hour": HALF, "shop": SHOP, "item_id": "i", "views": 2, "deep": 1.5, "orders": 2, "order_sum": 2981.0},
    {"half_hour": HALF, "shop": SHOP, "item_id": "j", "views": 1, "deep": 3.0, "orders": 0, "order_sum": 0.0},
]
USERS = [(END, SHOP, "i", 2, 1.5), (END, SHOP, "j", 1, 3.0)]
ORDERS = [(END, SHOP, "i", 2, 2981.0)]
ROWS = [("a0", True), *[(one["event_id"], False) for one in TAKEN], ("a1", False)]  # a corrupt copy, and a repeat


def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **other: Any) -> list[str]:
    """The differences, where the shop has what is right but for `other`."""
    settings = Settings(home=tmp_path)
    rows, stats = other.get("rows", ROWS), other.get("stats", STATS)
    table = {"event_id": [one for one, _ in rows], "corrupt": [one for _, one in rows], "shop": [SHOP] * len(rows)}
    write_deltalake(CLICKS.uri(settings), pa.table(table))
    write_deltalake(ITEM_STATS.uri(settings), pa.Table.from_pylist([one | {"source_rows": 1} for one in stats]))
    letter = {
        "domain": pa.array(["clickstream"]), "raw": pa.array([b"\x02https://t.example/"], pa.binary()),
        "headers": pa.array([[{"key": "event_id", "value": other.get("letter", "z1").encode()}]]),
    }  # fmt: skip
    write_deltalake(DEAD_LETTERS.uri(settings), pa.table(letter))
    served = {"users": other.get("users", USERS), "orders": other.get("orders", ORDERS)}
    monkeypatch.setattr(click_oracle, "_served", lambda _stack, name, _shop: served[name])
    ledger = Ledger("t", clicks=TAKEN, broken_clicks=["z1"])
    return list(click_oracle.click_differences(cast(Stack, SimpleNamespace(settings=settings)), ledger))


def test_what_is_right_has_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(tmp_path, monkeypatch) == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"rows": ROWS[:-2]}, "1 clicks lost, the first: a3"),
        ({"rows": [*ROWS, ("x", False)]}, "1 clicks never sent"),
        ({"letter": "z2"}, "1 broken clicks lost, the first: z1"),
        ({"stats": [STATS[0] | {"views": 3}, STATS[1]]}, "clickstream/item_stats: "),
        ({"stats": [STATS[0] | {"deep": 2.0}, STATS[1]]}, "clickstream/item_stats: "),
        ({"stats": [STATS[0] | {"order_sum": 2981.01}, STATS[1]]}, "clickstream/item_stats: "),
        ({"stats": STATS[:1]}, "clickstream/item_stats: "),
        ({"users": USERS[:1]}, "PostgreSQL users: 1 rows, expected 2"),
        ({"orders": [(END, SHOP, "i", 2, 2981.5)]}, "PostgreSQL orders: "),
        ({"orders": [*ORDERS, *ORDERS]}, "PostgreSQL orders: 2 rows, expected 1"),
    ],
)
def test_each_kind_of_error_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], words: str
) -> None:
    differences = found(tmp_path, monkeypatch, **other)
    assert any(one.startswith(words) for one in differences), differences


def test_a_shopper_sends_a_click_until_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([503, 429, None, *[200] * 10_000])
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        status = next(answers)
        if status is None:
            raise httpx.ConnectError("it was killed")
        return httpx.Response(status)

    replace_in(monkeypatch, clicks, time, sleep=lambda _seconds: None)
    ledger, left = Ledger("t"), iter([False] * 400)
    with httpx.Client(base_url="http://c", transport=httpx.MockTransport(answer)) as http:
        clicks.shop(http, ledger, 1, lambda: next(left, True))
    assert len(set(asked[:4])) == 1, "the same click, byte for byte"
    taken = [one["event_id"] for one in ledger.clicks] + ledger.broken_clicks
    assert len(taken) > 300 and len(set(taken)) == len(taken) and ledger.broken_clicks
    assert {one["event_id"] for one in ledger.clicks} & set(ledger.broken_clicks) == set()
    assert all(one["order_price"] for one in ledger.clicks if one["parameters"])


def test_another_answer_is_no_answer_that_anybody_promised() -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(404))
    with httpx.Client(base_url="http://c", transport=transport) as http, pytest.raises(AssertionError, match="404"):
        clicks.shop(http, Ledger("t"), 1, lambda: False)
