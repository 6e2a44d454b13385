"""The Kafka side of the outbox: a notification as a record, the transactional producer, and the last published sequence number."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Producer

from shop_streams.cluster import Cluster
from shop_streams.defs.promotions.notifications import NOTIFICATION_COLUMNS
from shop_streams.defs.promotions.schema import NOTIFICATION_BYTES
from shop_streams.kafka import TopicSilent, offset_ranges, producer, read_topic

KAFKA_SECONDS = 30.0
RETRY_MILLISECONDS = 500  # librdkafka waits so long before it repeats a request, at most 20 % less
REPEATED_SECONDS = 0.8 * RETRY_MILLISECONDS / 1000
RECENT_OFFSETS = 1_000  # read first; each sequence number takes two offsets, so the last one is among them


def key_of(row: Mapping[str, Any]) -> str:
    """The Kafka key of a notification."""
    return f"{row['adv_campaign_id']}:{row['client_id']}"


def value_of(row: Mapping[str, Any]) -> str:
    """The Kafka value of a notification: its fields in the order of NOTIFICATION_COLUMNS."""
    return json.dumps({name: row[name] for name in NOTIFICATION_COLUMNS}, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Sequence:
    """A published sequence number and its stamp in PostgreSQL; "" if an earlier version published it."""

    number: int
    stamp: str = ""

    @classmethod
    def parse(cls, text: str) -> Sequence:
        """From the value of its record, such as `7` or `7 0f8c…`."""
        number, _, stamp = text.partition(" ")
        return cls(int(number), stamp)

    def __str__(self) -> str:
        return f"{self.number} {self.stamp}".strip()


def last_sequence(servers: Cluster, topic: str, name: str) -> Sequence:
    """The last published sequence number of the database `name`; 0 when it has none.

    Raises:
        TopicSilent: a transaction of another database's publisher is open; numbers after it can't be read yet.
    """
    _, end = offset_ranges(servers, topic, committed=False)[0]
    if offset_ranges(servers, topic)[0][1] < end:
        raise TopicSilent(f"Topic {topic} has an open transaction of another publisher. It is waited for.")
    for first in (end - RECENT_OFFSETS, 0):
        numbers = [record.value for record in read_topic(servers, topic, {0: first}) if record.key == name.encode()]
        if numbers:
            return Sequence.parse(numbers[-1].decode())
    return Sequence(0)


def transactional_id(topic: str, database: str) -> str:
    """The transactional id of the publisher whose outbox is in the database that is named so (`promotion_outbox.name`).

    The name decides, and not the home: a home that was moved, or made again over the same database, must fence the publisher
    that was there before, and a stack with another database on the same Kafka must not.
    """
    return f"{topic}.{database}"


@contextmanager
def transactional(servers: Cluster, name: str) -> Iterator[Producer]:
    """A producer that has fenced every earlier producer of this name and aborted its open transaction."""
    client = producer(
        servers,
        {
            "transactional.id": name,
            "transaction.timeout.ms": 300_000,  # millions of notifications may be one transaction
            "linger.ms": 5,
            "retry.backoff.ms": RETRY_MILLISECONDS,
            "compression.type": "lz4",
            "message.max.bytes": NOTIFICATION_BYTES,
        },
    )
    try:
        client.init_transactions(KAFKA_SECONDS)
        yield client
    finally:
        client.purge(in_flight=False)


def commit(client: Producer, seconds: float) -> bool:
    """Commit the producer's transaction; returns whether the producer may begin another one.

    After a time-out or a lost connection, librdkafka repeats its request to commit. The first request may still be on its way. It
    has the epoch of this producer, so it would commit the next transaction in the middle (librdkafka issue 5423; in Kafka 4 each
    transaction has another epoch, but not for librdkafka). A new producer has a new epoch, and Kafka refuses the late request. A
    request that was answered before the first pause of librdkafka is over was not repeated.
    """
    begun = time.monotonic()
    client.commit_transaction(seconds)
    return time.monotonic() - begun < REPEATED_SECONDS
