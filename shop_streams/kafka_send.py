"""Sending records to Kafka: a full queue is waited for, and a record that the broker refuses is an error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import Producer

from shop_streams.cluster import Cluster
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import producer
from shop_streams.kafka_access import Refused, refusal

AGAIN = "`shop-streams status` tells whether Kafka is up; then run the command again."


def produce(
    client: Producer, topic: str, value: str | bytes | None, key: str | bytes | None = None, **more: Any
) -> None:
    """Hand a record to the producer; while its queue is full, wait until the broker has acknowledged records."""
    while True:
        try:
            client.produce(topic, value, key, **more)
            break
        except BufferError:
            client.poll(0.1)
    client.poll(0)


def send_all(servers: Cluster, topic: str, records: Iterable[tuple[str | None, str]], seconds: float = 60) -> None:
    """Send records, (key, value), and return once the broker has acknowledged each.

    Raises:
        KafkaRefused: the broker refuses the login or a right.
        ShopStreamsError: it did not take all of them, or not within `seconds` after the last one.
    """
    refused, count = Refused(), 0
    client = producer(servers, {"enable.idempotence": True, "linger.ms": 20})
    for key, value in records:
        produce(client, topic, value, key, on_delivery=refused)
        count += 1
    left = client.flush(seconds)  # a record that was refused is no longer in the queue
    if refused:
        raise refusal(servers, refused[0], topic) or ShopStreamsError(
            f"Kafka did not take {len(refused):,} of {count:,} records of topic {topic}: {refused[0].str()}. {AGAIN}"
        )
    if left:
        raise ShopStreamsError(
            f"Kafka did not acknowledge {left:,} of {count:,} records of topic {topic} within {seconds:.0f} s. {AGAIN}"
        )
