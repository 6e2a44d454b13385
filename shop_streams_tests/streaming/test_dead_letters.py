"""No record vanishes and no stream dies of one: each bad record becomes a dead letter with its reason."""

import json
import time
from typing import Any

import psycopg2
import pytest
from dagster_graphql import DagsterGraphQLClient

from shop_streams.defs.app_events.streams import INGEST as APP_EVENTS
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.defs.sales.streams import INGEST as SALES
from shop_streams.kafka import watermarks
from shop_streams.lake import log
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.replay import find, find_open, origin_of, replay
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


@pytest.mark.parametrize(
    ("spec", "cases"), [(SALES, SHOP_CASES), (APP_EVENTS, EVENT_CASES)], ids=["sales", "app_events"]
)
def test_every_bad_record_is_a_dead_letter_with_its_reason(
    stack: Stack, spec: Any, cases: list[tuple[bytes | None, str]]
) -> None:
    before = len(find(stack.settings, spec.domain))
    stack.produce(spec.topic.name, [value for value, _ in cases])
    wait_for("the dead letters", lambda: len(find(stack.settings, spec.domain)) >= before + len(cases))
    letters = [(letter["raw"], letter["reason"]) for letter in find(stack.settings, spec.domain)]
    for value, reason in cases:
        assert any(raw == value and reason in words for raw, words in letters), (value, reason)
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


def rows_of(stack: Stack, item_id: str) -> int:
    items = log.scan(SHOP_EVENTS.uri(stack.settings), ["item_id"])["item_id"].to_pylist()
    return sum(item == item_id for item in items)


def send_broken(stack: Stack, item_id: str) -> dict[str, Any]:
    broken = json.dumps(SHOP | {"event_type": "bux", "item_id": item_id}).encode()
    stack.produce("shop_events", [broken])

    def found() -> dict[str, Any] | None:
        return next((letter for letter in find_open(stack.settings, "sales") if letter["raw"] == broken), None)

    return wait_for("the dead letter", found)  # type: ignore[no-any-return]


def test_a_letter_is_shown_mended_and_replayed_from_the_command_line_once(stack: Stack) -> None:
    letter = send_broken(stack, "replayed")
    listed = json.loads(
        stack.cli("dead-letters", "list", "--domain", "sales", "--reason", "none of view", "--json").stdout
    )
    assert letter["raw"].decode() in [one["raw"] for one in listed]
    shown = stack.cli("dead-letters", "show", origin_of(letter))
    assert shown.stdout == letter["raw"].decode() and "none of view, buy" in shown.stderr
    words = (
        "dead-letters",
        "replay",
        "--domain",
        "sales",
        "--reason",
        "none of view",
        "--fix",
        "sed s/bux/buy/",
        "--yes",
    )
    stack.cli(*words)
    stack.cli(*words)  # others of that reason stay broken and come back; this one is passed over
    wait_for("the mended record as a row", lambda: rows_of(stack, "replayed") == 1)
    assert list(replay([letter], stack.settings)) == [], "asked for by hand, it is passed over too"
    wait_for("the accounting to be exact", lambda: exact(SALES, stack))
    assert rows_of(stack, "replayed") == 1


def test_a_replay_that_was_cut_off_is_looked_for_in_the_topic(stack: Stack) -> None:
    sent, unsent = send_broken(stack, "cut-off-after"), send_broken(stack, "cut-off-before")
    marks = {number: high for number, (_, high) in watermarks(stack.settings.kafka, "shop_events").items()}
    assert len(list(replay([sent], stack.settings, lambda raw: raw.replace(b"bux", b"buy")))) == 1
    with psycopg2.connect(stack.settings.postgres) as connection, connection.cursor() as cursor:
        # As a killed replay leaves them: begun, and not known to be sent.
        cursor.execute("update dead_letter_replays set sent = false where origin = %s", (origin_of(sent),))
        cursor.execute(
            "insert into dead_letter_replays (origin, sent, marks) values (%s, false, %s)",
            (origin_of(unsent), json.dumps(marks)),
        )
    again = list(replay([sent, unsent], stack.settings, lambda raw: raw.replace(b"bux", b"buy")))
    assert [origin_of(letter) for letter in again] == [origin_of(unsent)]
    wait_for("both rows", lambda: rows_of(stack, "cut-off-after") == rows_of(stack, "cut-off-before") == 1)
    wait_for("the accounting to be exact", lambda: exact(SALES, stack))
    assert rows_of(stack, "cut-off-after") == rows_of(stack, "cut-off-before") == 1


def test_the_replay_job_of_the_ui_does_the_same(stack: Stack) -> None:
    send_broken(stack, "by-job")
    client = DagsterGraphQLClient("127.0.0.1", port_number=stack.settings.dagster_port)
    config = {"domain": "sales", "reason": "none of view", "fix": "sed s/bux/buy/"}
    client.submit_job_execution(
        "replay_dead_letters", run_config={"ops": {"replay_open_dead_letters": {"config": config}}}
    )
    wait_for("the mended record as a row", lambda: rows_of(stack, "by-job") == 1)
