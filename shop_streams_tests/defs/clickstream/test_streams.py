"""From the topic to the lake: clicks of our collector, of Divolte, and junk."""

import uuid

from confluent_kafka import Producer

from shop_streams.defs.clickstream.schema import CLICKS
from shop_streams.defs.clickstream.streams import INGEST
from shop_streams.lake import reader
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams_tests.defs.clickstream.clicks import BUY, CONFLUENT, VIEW, written
from shop_streams_tests.harness import Stack, exact, wait_for

COLUMNS = [
    "party_id",
    "session_id",
    "event_id",
    "shop",
    "item_id",
    "order_amount",
    "corrupt",
    "received_at",
    "identity",
    "identity_hash",
]


def test_clicks_become_rows_and_junk_becomes_dead_letters(stack: Stack) -> None:
    session, party = f"0:s:{uuid.uuid4().hex}", f"0:p:{uuid.uuid4().hex}"
    view, buy = VIEW | {"sessionId": session}, BUY | {"sessionId": session}
    headers = {"event_id": b"0:v:1", "received_at": b"1790000000123", "corrupt": b"false"}
    sound = [
        (view, headers),
        (view, headers),
        (view, headers | {"corrupt": b"true"}),
        (buy, {}),
        (view, {"event_id": b"\xff"}),
    ]
    junk = [written(view)[:-1], written(view) + b"\x00", CONFLUENT + written(view), written(buy | {"price": "1-2"})]
    producer = Producer({"bootstrap.servers": stack.settings.kafka, "enable.idempotence": True})
    for record, more in sound:
        producer.produce(INGEST.topic.name, written(record), key=party, headers=list(more.items()))
    for value in junk:
        producer.produce(INGEST.topic.name, value, key=party)
    producer.produce(INGEST.topic.name, None, key=party)
    assert producer.flush(30) == 0
    wait_for("all to have arrived", lambda: exact(INGEST, stack), shown=lambda: accounts(INGEST, stack.settings))

    found = reader.scan(CLICKS.uri(stack.settings), [*COLUMNS, "kafka_offset"]).to_pylist()
    rows = sorted((row for row in found if row["session_id"] == session), key=lambda row: row["kafka_offset"])
    assert [row["event_id"] for row in rows] == ["0:v:1", "0:v:1", "0:v:1", None, None]
    assert [row["corrupt"] for row in rows] == [False, False, True, False, False]
    assert [row["order_amount"] for row in rows] == [None, None, None, 2, None]
    assert {(row["party_id"], row["shop"], row["item_id"]) for row in rows} == {(party, "shop.example", "5")}
    assert [row["identity"] is None for row in rows] == [False, False, False, True, True]
    hashes = [row["identity_hash"] for row in rows]
    assert None not in hashes and len(set(hashes)) == 2, "one of the three with an identity, one of the two without"
    assert rows[0]["received_at"].isoformat() == "2026-09-21T14:13:20.123000+00:00"

    letters = reader.scan(DEAD_LETTERS.uri(stack.settings), ["domain", "raw", "reason"]).to_pylist()
    reasons = {one["raw"]: one["reason"] for one in letters if one["domain"] == "clickstream"}
    assert reasons.keys() >= {*junk, None}  # other tests send junk too
    words = ("not Avro: ", "1 bytes after the record", "Confluent's frame", "price '1-2' is no price")
    assert [value for value, part in zip(junk, words, strict=True) if part not in reasons[value]] == []
