"""No record vanishes and no stream dies of one: each bad record becomes a dead letter with its reason."""

import json
import time
from typing import Any

import pytest

from shop_streams.defs.app_events.streams import INGEST as APP_EVENTS
from shop_streams.defs.sales.streams import INGEST as SALES
from shop_streams.streaming.checks import accounts
from shop_streams.streaming.replay import find
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
    "event_id": "x", "event_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "user_id": 1, "app_name": "a", "event_category": "c",
}  # fmt: skip
YEAR_2100 = 4_102_444_800_000

SHOP_CASES: list[tuple[bytes | None, str]] = [
    (b'{"event_type":"view","cat', "not JSON, or a field of the wrong type"),
    (b"", "empty value"),
    (None, "empty value"),
    (b"\xff\xfe\xfd", "invalid UTF-8"),
    (b"   ", "not a JSON object"),
    (b"hello", "not JSON, or a field of the wrong type"),
    (b"5", "not JSON, or a field of the wrong type"),
    (json.dumps([SHOP]).encode(), "not JSON, or a field of the wrong type"),
    (json.dumps(SHOP).encode() + b"\n" + json.dumps(SHOP).encode(), "not exactly one JSON object"),
    (json.dumps(SHOP).encode() + b" and more", "not exactly one JSON object"),
    (json.dumps(SHOP | {"item_price": "5"}).encode(), "not JSON, or a field of the wrong type"),
    (json.dumps(SHOP | {"item_price": 5.5}).encode(), "not JSON, or a field of the wrong type"),
    (json.dumps(SHOP | {"item_price": None}).encode(), "item_price is missing"),
    (json.dumps(SHOP | {"event_type": "look"}).encode(), "event_type is neither view nor buy"),
    (
        json.dumps({key: value for key, value in SHOP.items() if key != "item_id"}).encode(),
        "item_id is missing",
    ),
    (
        json.dumps(SHOP | {"timestamp": NOW // 1000}).encode(),
        "event time before 2015-01-01; are the units right?",
    ),
    (
        json.dumps(SHOP | {"timestamp": YEAR_2100}).encode(),
        "event time more than an hour ahead of the broker's",
    ),
    (json.dumps(SHOP | {"timestamp": 2**62}).encode(), "timestamp is no time in milliseconds"),
    (json.dumps(SHOP | {"timestamp": -5}).encode(), "timestamp is no time in milliseconds"),
]
EVENT_CASES: list[tuple[bytes | None, str]] = [
    (json.dumps(EVENT | {"user_id": 2**31}).encode(), "not JSON, or a field of the wrong type"),
    (json.dumps(EVENT | {"user_id": None}).encode(), "user_id is missing"),
    (json.dumps(EVENT | {"app_name": ""}).encode(), "app_name is missing"),
    (
        json.dumps(EVENT | {"event_time": "2100-01-01T00:00:00Z"}).encode(),
        "event time more than an hour ahead of the broker's",
    ),
    (json.dumps(EVENT | {"event_time": "yesterday"}).encode(), "not JSON, or a field of the wrong type"),
]
GOOD_BUT_UNUSUAL: list[bytes] = [
    b"  " + json.dumps(SHOP).encode() + b"\n",
    json.dumps(SHOP | {"item_id": "a } and { b"}).encode(),
    json.dumps(SHOP | {"uid": None, "more": {"nested": [1, {}]}}).encode(),
    json.dumps(SHOP | {"category": "тёплое"}, ensure_ascii=False).encode(),
]


def exact(spec: Any, stack: Stack) -> bool:
    per_partition = accounts(spec, stack.settings)
    return all(account.exact for account in per_partition) and sum(account.in_flight for account in per_partition) == 0


@pytest.mark.parametrize(
    ("spec", "cases"), [(SALES, SHOP_CASES), (APP_EVENTS, EVENT_CASES)], ids=["sales", "app_events"]
)
def test_every_bad_record_is_a_dead_letter_with_its_reason(
    stack: Stack, spec: Any, cases: list[tuple[bytes | None, str]]
) -> None:
    before = len(find(stack.settings, spec.domain))
    stack.produce(spec.topic.name, [value for value, _ in cases])
    wait_for("the dead letters", lambda: len(find(stack.settings, spec.domain)) >= before + len(cases))
    reasons = {(letter["raw"], letter["reason"]) for letter in find(stack.settings, spec.domain)}
    assert set(cases) <= reasons
    wait_for("the accounting to be exact", lambda: exact(spec, stack))


def test_unusual_but_good_records_are_rows(stack: Stack) -> None:
    before = len(find(stack.settings, "sales"))
    rows = sum(account.rows for account in accounts(SALES, stack.settings))
    stack.produce("shop_events", list(GOOD_BUT_UNUSUAL))
    wait_for(
        "the rows",
        lambda: sum(account.rows for account in accounts(SALES, stack.settings)) >= rows + len(GOOD_BUT_UNUSUAL),
    )
    assert len(find(stack.settings, "sales")) == before


def test_a_value_of_10_megabytes_is_refused_without_harm(stack: Stack) -> None:
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entry = ConfigEntry("max.message.bytes", "20000000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "shop_events", incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": stack.settings.kafka})
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
    stack.produce("shop_events", [json.dumps(SHOP | {"item_id": "x" * 10_000_000}).encode()])
    wait_for(
        "its dead letter",
        lambda: any("larger than" in letter["reason"] for letter in find(stack.settings, "sales")),
    )
    wait_for("the accounting to be exact", lambda: exact(SALES, stack))


def test_replay_mends_and_sends_again(stack: Stack) -> None:
    broken = json.dumps(SHOP | {"event_type": "bux", "item_id": "replayed"}).encode()
    stack.produce("shop_events", [broken])
    wait_for("the dead letter", lambda: any(letter["raw"] == broken for letter in find(stack.settings, "sales")))
    listed = stack.cli("dead-letters", "list", "--domain", "sales", "--json").stdout
    assert any(letter["raw"] == broken.decode() for letter in json.loads(listed))
    stack.cli("dead-letters", "replay", "--domain", "sales", "--fix", "sed s/bux/buy/", "--yes")

    def replayed() -> bool:
        from shop_streams.defs.sales.schema import SHOP_EVENTS
        from shop_streams.lake import log

        return "replayed" in log.scan(SHOP_EVENTS.uri(stack.settings), ["item_id"])["item_id"].to_pylist()

    wait_for("the mended record as a row", replayed)
