"""Records that break a rule, the letters that they become, and the replays of those."""

import json
import time
from typing import Any

from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.lake import reader
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.drafts import Draft, Letter, origin_of
from shop_streams.streaming.replay import Choice, Found, find, find_chosen
from shop_streams_tests.harness import Stack, wait_for

NOW = int(time.time() * 1000)
SHOP: dict[str, Any] = {
    "event_type": "view",
    "category": "c",
    "item_id": "i",
    "item_price": 5,
    "uid": "u",
    "timestamp": NOW,
}
EVENT: dict[str, Any] = {
    "event_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "user_id": 1, "app_name": "a", "event_category": "c",
}  # fmt: skip
CAMPAIGN = {
    "restaurant_id": "123e4567-e89b-12d3-a456-426614174000", "adv_campaign_id": "123e4567-e89b-12d3-a456-426614174003",
    "adv_campaign_content": "c", "adv_campaign_owner": "o", "adv_campaign_owner_contact": "o@example.org",
    "adv_campaign_datetime_start": 1659203516, "adv_campaign_datetime_end": 2659207116, "datetime_created": 1659131516,
}  # fmt: skip
YEAR_2100 = 4_102_444_800_000
SHOP_CASES: list[tuple[bytes | None, str]] = [
    (b'{"event_type":"view","cat', "not JSON"),
    (b"", "empty value"),
    (None, "empty value"),
    (b"\xff\xfe\xfd", "invalid UTF-8"),
    (b"   ", "not JSON"),
    (b"5", "not a JSON object"),
    (json.dumps([SHOP]).encode(), "not a JSON object"),
    (json.dumps(SHOP).encode() + b"\n" + json.dumps(SHOP).encode(), "not JSON"),
    (json.dumps(SHOP | {"item_price": "5"}).encode(), "item_price is wrong"),
    (json.dumps(SHOP | {"item_price": 10**12 + 1}).encode(), "item_price is wrong"),
    (json.dumps(SHOP | {"item_price": None}).encode(), "item_price is missing"),
    (json.dumps(SHOP | {"uid": 12345}).encode(), "uid is wrong"),
    (json.dumps(SHOP | {"event_type": "look"}).encode(), "event_type is none of view, buy"),
    (json.dumps(SHOP | {"timestamp": NOW // 1000}).encode(), "timestamp is before 2015-01-01"),
    (json.dumps(SHOP | {"timestamp": YEAR_2100}).encode(), "timestamp is more than an hour ahead"),
    (json.dumps(SHOP | {"timestamp": 2**62}).encode(), "timestamp is wrong"),
]
EVENT_CASES: list[tuple[bytes | None, str]] = [
    (json.dumps(EVENT | {"user_id": 2**31}).encode(), "user_id is wrong"),
    (json.dumps(EVENT | {"user_id": None, "app_name": ""}).encode(), "user_id is missing; app_name is empty"),
    (json.dumps(EVENT | {"event_id": "x"}).encode(), "event_id is not a UUID"),
    (json.dumps(EVENT | {"event_time": "2100-01-01T00:00:00Z"}).encode(), "event_time is more than an hour ahead"),
    (json.dumps(EVENT | {"event_time": "yesterday"}).encode(), "event_time is wrong"),
]
GOOD_BUT_UNUSUAL: list[bytes] = [
    b"  " + json.dumps(SHOP).encode() + b"\n",
    json.dumps(SHOP | {"item_id": "a } and { b"}).encode(),
    json.dumps({name: value for name, value in SHOP.items() if name not in ("uid", "category", "item_id")}).encode(),
    json.dumps(SHOP | {"category": "", "item_price": 10**12}).encode(),
    json.dumps(SHOP | {"uid": None, "more": {"nested": [1, {}]}}).encode(),
    json.dumps(SHOP | {"category": "тёплое"}, ensure_ascii=False).encode(),
]


def exact(spec: Any, stack: Stack) -> bool:
    per_partition = accounts(spec, stack.settings)
    return all(account.exact for account in per_partition) and sum(account.in_flight for account in per_partition) == 0


def rows_of(stack: Stack, item_id: str) -> int:
    items = reader.scan(SHOP_EVENTS.uri(stack.settings), ["item_id"])["item_id"].to_pylist()
    return sum(item == item_id for item in items)


def chosen(stack: Stack, *origins: str) -> Found:
    return find_chosen(stack.settings, Choice(origins=origins), [])


def open_places(stack: Stack) -> set[str]:
    return {origin_of(letter) for letter in chosen(stack).open}


def send_broken(stack: Stack, item_id: str) -> Letter:
    broken = json.dumps(SHOP | {"event_type": "bux", "item_id": item_id}).encode()
    stack.produce("shop_events", [broken])

    def found() -> Letter | None:
        return next((letter for letter in find(stack.settings, "sales") if letter["raw"] == broken), None)

    return wait_for("the dead letter", found)


def mended(letter: Letter) -> Draft:
    return Draft(letter, letter["raw"], letter["raw"].replace(b"bux", b"buy"))
