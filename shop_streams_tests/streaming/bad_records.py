"""The letters that broken records become, and the replays of those."""

import json

from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.lake import reader
from shop_streams.streaming.choice import Choice, Found, find_chosen
from shop_streams.streaming.drafts import Draft, Letter, origin_of
from shop_streams_tests.defs.sales.events import SHOP
from shop_streams_tests.harness import Stack, wait_for
from shop_streams_tests.streaming.letters import find


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
