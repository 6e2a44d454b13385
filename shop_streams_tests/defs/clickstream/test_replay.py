"""A click whose price nobody can read is a dead letter, which a person sees as JSON, fixes and sends again, once."""

import io
import json
import time
import uuid
from typing import Any

import fastavro
import pyarrow.compute as pc
from confluent_kafka import Producer

from shop_streams.defs.clickstream.schema import CLICK_SCHEMA, CLICKS, CLICKS_TOPIC
from shop_streams.defs.clickstream.streams import INGEST
from shop_streams.lake import reader
from shop_streams.streaming.drafts import Letter, origin_of
from shop_streams_tests.harness import Stack, exact, wait_for
from shop_streams_tests.streaming.letters import find


def produce(stack: Stack, value: bytes, key: str, headers: dict[str, str]) -> None:
    producer = Producer({"bootstrap.servers": stack.settings.kafka})
    producer.produce(CLICKS_TOPIC.name, value, key=key, headers={name: text.encode() for name, text in headers.items()})
    assert producer.flush(30) == 0


def test_a_fixed_click_is_a_row_once_with_its_party_and_its_event_id(stack: Stack) -> None:
    party, event = f"0:a:{uuid.uuid4().hex}", f"0:{uuid.uuid4().hex}1"
    record = {
        "timestamp": int(time.time() * 1000), "eventType": "buy_button_click", "sessionId": "0:b:c", "price": "on request",
        "location": "https://shop.example/katalog/item/i/", "amount": "2",
    }  # fmt: skip
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(CLICK_SCHEMA)), record)
    headers = {"event_id": event, "referer": "https://search.example/", "corrupt": "false", "via_collector": ""}
    produce(stack, out.getvalue(), party, headers)

    def arrived() -> Letter | None:
        return next((one for one in find(stack.settings, "clickstream") if one["key"] == party.encode()), None)

    letter = wait_for("the dead letter", arrived)
    assert "on request" in letter["reason"]
    assert {one["key"]: one["value"].decode() for one in letter["headers"]} == headers

    shown = stack.cli("dead-letters", "show", origin_of(letter))
    assert json.loads(shown.stdout) == record and f"key {party}" in shown.stderr and event in shown.stderr
    [listed] = [
        one
        for one in json.loads(stack.cli("dead-letters", "list", "--json").stdout)
        if one["place"] == origin_of(letter)
    ]
    assert json.loads(listed["raw"]) == record and listed["key"] == party

    fix = "sed 's/on request/1 490,50 €/'"
    assert "1 would be sent" in stack.cli("dead-letters", "replay", origin_of(letter), "--fix", fix, "--dry-run").stdout
    stack.cli("dead-letters", "replay", origin_of(letter), "--fix", fix, "--yes")
    stack.cli("dead-letters", "replay", origin_of(letter), "--fix", fix, "--yes")

    def rows() -> list[dict[str, Any]]:
        names = [column.name for column in CLICKS.columns]
        return reader.scan(CLICKS.uri(stack.settings), names, pc.field("event_id") == event).to_pylist()

    wait_for("the row", rows)
    wait_for("every record to be in the lake", lambda: exact(INGEST, stack))
    [row] = rows()
    assert (row["party_id"], row["referer"], row["corrupt"]) == (party, "https://search.example/", False)
    assert (float(row["order_price"]), row["order_amount"], row["item_id"]) == (1490.5, 2, "i")
