"""The aggregate command against DuckDB over the same events."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from shop_streams.topics import Topic, create_topics
from shop_streams_tests.defs.sales.events import make_events, oracle, without
from shop_streams_tests.harness import Stack


def values(stack: Stack, topic: str) -> list[dict[str, Any]]:
    consumer = Consumer({"bootstrap.servers": stack.settings.kafka, "group.id": "test"})
    found: list[tuple[bytes, dict[str, Any]]] = []
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    marks = [consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10) for n in partitions]
    consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in partitions])
    while len(found) < sum(high - low for low, high in marks):
        good = [message for message in consumer.consume(1000, 1) if not message.error()]
        found += [(message.key() or b"", json.loads(message.value() or b"")) for message in good]
    consumer.close()
    assert all(int(key) == value["start_ts"] for key, value in found)
    return sorted((value for _, value in found), key=lambda value: value["start_ts"])


@pytest.mark.parametrize("anchor", ["hour", "first_event"])
def test_aggregate_sends_each_window_once_and_equals_duckdb(stack: Stack, tmp_path: Path, anchor: str) -> None:
    topic, out = f"shop-{uuid.uuid4().hex}", f"metrics-{uuid.uuid4().hex}"
    create_topics(stack.settings, (Topic(topic, ""),))
    events = make_events(3000, 5, 1_577_865_600_000 + 1_234_567, 30)
    bad = [b'{"event_type":"buy"', b"", json.dumps(events[0] | {"timestamp": 1_577_865_600}).encode()]
    stack.produce(topic, [*(json.dumps(event).encode() for event in events), *bad])
    words = (
        "aggregate",
        "--in-topic",
        topic,
        "--out-topic",
        out,
        "--until-caught-up",
        "--checkpoint",
        str(tmp_path / "cp"),
        "--window-anchor",
        anchor,
    )
    told = stack.cli(*words).stdout
    assert "3,003 events read, 3,000 taken, 3 refused." in told and "1 refused: empty value" in told
    offset = 0 if anchor == "hour" else min(event["timestamp"] for event in events) // 1000 % 3600
    expected = without(oracle(events, tmp_path, offset), "unique_visitors")
    sent = values(stack, out)
    assert sent == expected
    assert list(sent[0]) == ["start_ts", "end_ts", "revenue", "visitors", "purchases", "aov"]
    assert any(row["aov"] is None for row in sent), "the data must have an hour without a purchase"
    stack.cli(*words)
    assert len(values(stack, out)) == len(expected), "a second run on the same checkpoint sends nothing"
