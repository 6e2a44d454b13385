"""The Kafka side of the outbox: a notification as a record, the transactional producer, and the last published sequence number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Producer

from shop_streams.defs.promotions.notifications import NOTIFICATION_COLUMNS
from shop_streams.defs.promotions.schema import NOTIFICATION_BYTES
from shop_streams.kafka import offset_ranges, producer, read_topic

KAFKA_SECONDS = 30.0
RECENT_OFFSETS = 1_000  # read first; each sequence number takes two offsets, so the last one is among them


def key_of(row: Mapping[str, Any]) -> str:
    """The Kafka key of a notification."""
    return f"{row['adv_campaign_id']}:{row['client_id']}"


def value_of(row: Mapping[str, Any]) -> str:
    """The Kafka value of a notification: its fields in the order of NOTIFICATION_COLUMNS."""
    return json.dumps({name: row[name] for name in NOTIFICATION_COLUMNS}, ensure_ascii=False, separators=(",", ":"))


def last_sequence(servers: str, topic: str, name: str) -> int:
    """The last published sequence number of the database `name`; 0 when it has none."""
    _, end = offset_ranges(servers, topic)[0]
    for first in (end - RECENT_OFFSETS, 0):
        numbers = [record.value for record in read_topic(servers, topic, {0: first}) if record.key == name.encode()]
        if numbers:
            return int(numbers[-1])
    return 0


def produce(client: Producer, topic: str, value: str, key: str, **more: Any) -> None:
    """Hand a record to the producer; while its queue is full, wait until the broker has acknowledged records."""
    while True:
        try:
            client.produce(topic, value, key, **more)
            break
        except BufferError:
            client.poll(0.1)
    client.poll(0)


@contextmanager
def transactional(servers: str, name: str) -> Iterator[Producer]:
    """A producer that has fenced every earlier producer of this name and aborted its open transaction."""
    client = producer(
        servers,
        {
            "transactional.id": name,
            "transaction.timeout.ms": 300_000,  # millions of notifications may be one transaction
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.max.bytes": NOTIFICATION_BYTES,
        },
    )
    try:
        client.init_transactions(KAFKA_SECONDS)
        yield client
    finally:
        client.purge(in_flight=False)
