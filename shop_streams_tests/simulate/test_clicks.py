"""Simulated clicks: the same seed makes the same ones, and what they send is what a tag sends."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.settings import Settings
from shop_streams.simulate import DOMAINS
from shop_streams.simulate.clickstream import base36, clicks, mincode, query, spellings

DAY = datetime(2026, 7, 1, tzinfo=UTC)
START = int(DAY.timestamp() * 1000)
MANY = list(clicks(4000, 7, DAY))


def murmur3(data: bytes) -> int:
    """Austin Appleby's MurmurHash3_x86_32 with seed 0, signed."""
    mask, state = 0xFFFFFFFF, 0

    def mixed(part: int) -> int:
        part = part * 0xCC9E2D51 & mask
        return ((part << 15 | part >> 17) & mask) * 0x1B873593 & mask

    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        state ^= mixed(int.from_bytes(data[at : at + 4], "little"))
        state = ((state << 13 | state >> 19) & mask) * 5 + 0xE6546B64 & mask
    if data[whole:]:
        state ^= mixed(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & mask
    state = (state ^ state >> 13) * 0xC2B2AE35 & mask
    state ^= state >> 16
    return state - 2**32 if state >> 31 else state


def test_the_murmur3_of_this_test_is_murmur3() -> None:
    known = {
        b"": 0,
        b"a": 0x3C2569B2,
        b"abc": 0xB3DD93FA,
        b"hello world": 0x5E928F0F,
    }  # of the reference implementation
    assert {data: murmur3(data) & 0xFFFFFFFF for data in known} == known


class Reader:
    """Reads mincode, one character after the other."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def next(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def string(self) -> str:
        found = ""
        while (one := self.next()) != "!":
            found += self.next() if one == "~" else one
        return found

    def value(self, kind: str) -> Any:
        if kind in "tfn":
            return {"t": True, "f": False, "n": None}[kind]
        if kind == "s":
            return self.string()
        if kind == "d":
            return int(self.string(), 36)
        if kind == "j":
            return json.loads(self.string())
        found: Any = {} if kind == "(" else []
        while (inner := self.next()) not in ").":
            if kind == "(":
                name = self.string()
                found[name] = self.value(inner)
            else:
                found.append(self.value(inner))
        return found


def decoded(text: str) -> Any:
    reader = Reader(text)
    value = reader.value(reader.next())
    assert reader.at == len(text)
    return value


scalars = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(values)
def test_any_value_as_mincode_is_read_again(value: Any) -> None:
    assert decoded(mincode(value)) == value


@given(st.integers())
def test_any_number_in_base_36_is_read_again(number: int) -> None:
    assert int(base36(number), 36) == number


def test_mincode_is_as_the_wire_format_says() -> None:
    assert mincode({"price": "1!0~", "amount": 37, "ratio": 1.5, "t": True, "x": None, "a": ["b", 1], "o": {}}) == (
        "(sprice!1~!0~~!damount!11!jratio!1.5!tt!nx!aa!sb!d1!.(o!))"
    )


def test_a_request_says_what_the_click_says() -> None:
    for click in MANY[:1000]:
        text = query(click)
        assert re.fullmatch(r"[A-Za-z0-9%=&\-_.!~*'()]+", text) and len(text) < 7000
        pairs = [(unquote(name), unquote(value)) for name, _, value in (one.partition("=") for one in text.split("&"))]
        assert pairs == parse_qsl(text, strict_parsing=True), "it has no +, which form decoding would read as a space"
        found = dict(pairs)
        assert len(found) == len(pairs)
        checksum = murmur3("".join(f"{name}={found[name]},;" for name in sorted(found) if name != "x").encode())
        assert (int(found["x"], 36) == checksum) is not click["corrupt"]
        assert re.fullmatch(r"0:[0-9a-z]+:[0-9a-z]+", found["p"]) and re.fullmatch(r"0:[0-9a-z]+:[0-9a-z]+", found["s"])
        assert found["e"].startswith(found["v"]) and len(found["e"]) > len(found["v"])
        assert (found["p"], found["s"], found["v"], found["e"]) == tuple(
            click[name] for name in ("party", "session", "page_view", "event_id")
        )
        assert int(found["c"], 36) == click["client_timestamp"]
        assert (found["n"] == "t", found["f"] == "t") == (click["is_new_party"], click["is_first_in_session"])
        assert (found["t"], found["l"], found["r"]) == (click["type"], click["location"], click["referer"])
        assert tuple(int(found[name], 36) for name in "whij") == (*click["viewport"], *click["screen"])
        assert (decoded(found["u"]) if "u" in found else None) == click["parameters"]


def test_the_same_seed_makes_the_same_clicks_and_no_more_than_asked_for() -> None:
    assert list(clicks(500, 1, DAY)) == list(clicks(500, 1, DAY)) != list(clicks(500, 2, DAY))
    counts = range(1, 200)  # one of them ends between a click and its repeat
    assert [len(list(clicks(count, 1, DAY))) for count in counts] == list(counts)


@pytest.mark.timeout(120)
def test_clicks_are_made_one_after_the_other() -> None:
    assert len(list(islice(clicks(10**12, 1, DAY), 3))) == 3


def test_a_day_has_what_the_statistics_must_tell_apart() -> None:
    assert all(START <= click["client_timestamp"] < START + 86_400_000 for click in MANY)
    sound = [click for click in MANY if not click["corrupt"] and not click["repeat"]]
    ids = Counter((click["party"], click["session"], click["event_id"]) for click in sound)
    assert set(ids.values()) == {1}
    repeats, corrupt = [c for c in MANY if c["repeat"]], [c for c in MANY if c["corrupt"]]
    assert 20 < len(repeats) < 400 and 5 < len(corrupt) < 200 and not any(click["corrupt"] for click in repeats)
    for copy in (*repeats, *corrupt):
        assert copy | {"repeat": False, "corrupt": False} in sound
    half_hours: dict[str, set[int]] = {}
    for click in sound:
        half_hours.setdefault(click["session"], set()).add(click["client_timestamp"] // 1_800_000)
    assert sum(len(halves) > 1 for halves in half_hours.values()) > 100
    assert len({click["session"] for click in sound if click["is_first_in_session"]}) == len(half_hours)
    new = [click["party"] for click in sound if click["is_new_party"]]
    assert sorted(new) == sorted({click["party"] for click in sound})
    assert {click["shop"] for click in sound} == {"shop.example", "outlet.shop.example:8443"}


def test_what_a_click_expects_is_what_its_page_says() -> None:
    orders = [click for click in MANY if click["type"] == "buy_button_click"]
    assert len(orders) > 200 and all(click["item_id"] for click in orders)
    for click in MANY:
        location = urlsplit(click["location"])
        parts = [part for part in location.path.split("/") if part]
        assert location.netloc == click["shop"]
        is_item = parts[:2] == ["katalog", "item"] and len(parts) == 3
        assert click["item_id"] == (unquote(parts[2]) if is_item else None)
        assert (click["order_price"] is None) == (click["order_amount"] is None) == (click["parameters"] is None)
    numbers = [click for click in orders if isinstance(click["parameters"]["price"], int | float)]
    assert 0 < len(numbers) < len(orders)
    for click in numbers:
        assert Decimal(str(click["parameters"]["price"])) == Decimal(click["order_price"])
        assert click["parameters"]["amount"] == click["order_amount"]
    texts = [click for click in orders if click not in numbers]
    assert all(int(click["parameters"]["amount"]) == click["order_amount"] for click in texts)
    assert all(click["parameters"]["price"] in spellings(int(Decimal(click["order_price"]) * 100)) for click in texts)
    assert {name for name in (click["item_id"] for click in MANY) if name and not name.isascii()}, "percent-encoded"


def test_prices_are_spelled_as_shops_do() -> None:
    assert spellings(149_000) == [
        "1\u00a0490 \u0440\u0443\u0431.",
        "€ 1490",
        "$1,490",
        "1490.-",
        "1490.00",
        "1,490 \u0440\u0443\u0431.",
    ]
    assert spellings(149_050) == ["1\u00a0490,50 €", "1,490.50", "1.490,50 €", "$ 1,490.50"]
    assert spellings(9905)[1] == "99.05"


class Collector(ThreadingHTTPServer):
    """Answers 503, 429 and then 200 to each request, and keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.came: Counter[str] = Counter()
        self.tokens: list[str | None] = []
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.came[self.path] += 1
            self.server.tokens.append(self.headers.get("X-Token"))
            status = {1: 503, 2: 429}.get(self.server.came[self.path], 200)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_each_click_is_sent_until_it_is_taken_byte_for_byte_and_without_the_token(collector: Collector) -> None:
    settings = Settings(collector_port=collector.server_address[1])
    assert DOMAINS["clickstream"](settings, 12, 3, DAY, None) == 12
    expected = Counter(f"/csc-event?{query(click)}" for click in clicks(12, 3, DAY))
    assert set(collector.came) == set(expected)
    assert collector.came == {path: times + 2 for path, times in expected.items()}
    assert set(collector.tokens) == {None}, "a browser has no secret"
