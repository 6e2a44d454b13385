"""Reading a topic's offsets and records for people and checks; the streams themselves read through Spark."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from shop_streams.errors import ShopStreamsError

ANSWER_SECONDS = 10.0
SILENCE_SECONDS = 30.0


class Record(NamedTuple):
    """A record as the broker holds it."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict[str, str | bytes | None]


@contextmanager
def _consumer(servers: str) -> Iterator[Consumer]:
    # The group is never committed to nor joined: assignments are made by hand.
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "shop_streams_reader", "log_level": 0})
    try:
        yield consumer
    finally:
        consumer.close()


def _watermarks(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    partitions = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic].partitions
    return {
        number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_SECONDS)
        for number in sorted(partitions)
    }


def watermarks(servers: str, topic: str) -> dict[int, tuple[int, int]]:
    """The offsets [low, high) that each partition of the topic holds now.

    Raises:
        KafkaException: the broker does not answer within 10 s, or has no such topic.
    """
    with _consumer(servers) as consumer:
        return _watermarks(consumer, topic)


def read_topic(servers: str, topic: str, first: Mapping[int, int] | None = None) -> list[Record]:
    """Every record that the topic holds now, each partition in its order; null keys and values as b"".

    `first` gives the offset to begin at for each partition; without it, the earliest that the topic holds.

    Raises:
        ShopStreamsError: the broker fell silent for 30 s before the end was reached.
    """
    with _consumer(servers) as consumer:
        marks = _watermarks(consumer, topic)
        begins = {number: max(low, (first or {}).get(number, low)) for number, (low, _) in marks.items()}
        ends = {number: high for number, (_, high) in marks.items() if high > begins[number]}
        consumer.assign([TopicPartition(topic, number, begins[number]) for number in ends])
        records: list[Record] = []
        heard = time.monotonic()
        while not all(
            position.offset >= ends[position.partition]
            for position in consumer.position([TopicPartition(topic, number) for number in ends])
        ):
            for message in consumer.consume(5000, timeout=0.2):
                partition, offset = message.partition(), message.offset()
                if (
                    message.error() is None
                    and partition is not None
                    and offset is not None
                    and offset < ends[partition]
                ):
                    headers = dict(message.headers() or [])
                    records.append(Record(partition, offset, message.key() or b"", message.value() or b"", headers))
                    heard = time.monotonic()
            if time.monotonic() - heard > SILENCE_SECONDS:
                raise ShopStreamsError(
                    f"Kafka sent nothing of topic {topic} for {SILENCE_SECONDS:.0f} s. `shop-streams status` tells."
                )
        return records
