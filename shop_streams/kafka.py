"""Kafka clients, and functions that read a topic's offsets and records for checks and the CLI. Streams read through Spark.

Reads are read_committed: records of aborted and open transactions do not count, unless a function says so.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from shop_streams.cluster import Cluster
from shop_streams.errors import ShopStreamsError

ANSWER_SECONDS = 10.0
SILENCE_SECONDS = 30.0
READER_GROUP = "shop_streams_reader"


class TopicSilent(ShopStreamsError):
    """The broker sends no records although the end of the topic is not reached."""


class Record(NamedTuple):
    """A record as the broker holds it."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict[str, str | bytes | None]


def admin(servers: Cluster, options: Mapping[str, Any] | None = None) -> AdminClient:
    """A client for questions about topics and cluster, with librdkafka's `options`."""
    # By Kafka's defaults, a question about a missing topic creates it.
    return AdminClient({**servers.librdkafka(), "log_level": 0, "allow.auto.create.topics": False, **(options or {})})


def producer(servers: Cluster, options: Mapping[str, Any] | None = None) -> Producer:
    """A producer with librdkafka's `options`."""
    return Producer({**servers.librdkafka(), "log_level": 0, **(options or {})})


@contextmanager
def _consumer(servers: Cluster, committed: bool = True) -> Iterator[Consumer]:
    # `assign` needs a group.id, but the consumer neither joins the group nor commits to it.
    consumer = Consumer(
        {
            "group.id": READER_GROUP,
            **servers.librdkafka(),
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # retention may delete the first offset of a range meanwhile
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "log_level": 0,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


# A partition has no leader for a moment when its topic is new or its broker has just left.
NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
REFUSED = (
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
)


@retry(
    retry=retry_if_exception(lambda error: isinstance(error, KafkaException) and error.args[0].code() in NO_LEADER_YET),
    stop=stop_after_delay(ANSWER_SECONDS),
    wait=wait_fixed(0.2),
    reraise=True,
)
def offset_ranges(
    servers: Cluster, topic: str, seconds: float = ANSWER_SECONDS, committed: bool = True
) -> dict[int, tuple[int, int]]:
    """The offsets [low, high) that each partition of the topic holds now.

    With `committed`, `high` is at most the first offset of the oldest open transaction; without it, the end of the log.

    Raises:
        KafkaException: the broker does not answer within `seconds`, or has no such topic.
    """
    client = admin(servers)
    found = client.list_topics(topic, timeout=seconds).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    # One request for all partitions: with one for each, a slow broker could take longer than a lease lasts.
    partitions = [TopicPartition(topic, number) for number in sorted(found.partitions)]
    isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    low, high = (
        client.list_offsets(dict.fromkeys(partitions, end), isolation_level=isolation, request_timeout=seconds)
        for end in (OffsetSpec.earliest(), OffsetSpec.latest())
    )
    return {one.partition: (low[one].result().offset, high[one].result().offset) for one in partitions}


def offsets_at(servers: Cluster, topic: str, moments: Sequence[float]) -> list[dict[int, int]]:
    """For each moment (epoch seconds): partition -> first offset whose record is not older, or the partition's end.

    Records of open transactions count too.
    """
    ends = {number: high for number, (_, high) in offset_ranges(servers, topic, committed=False).items()}
    with _consumer(servers, committed=False) as consumer:
        found = []
        for moment in moments:
            asked = [TopicPartition(topic, number, int(moment * 1000)) for number in ends]
            answers = consumer.offsets_for_times(asked, timeout=ANSWER_SECONDS)
            for one in answers:
                if one.error is not None:  # then its offset means nothing
                    raise KafkaException(one.error)
            found.append({one.partition: one.offset if one.offset >= 0 else ends[one.partition] for one in answers})
        return found


def oldest_timestamp(
    servers: Cluster, topic: str, ranges: Mapping[int, tuple[int, int]], committed: bool = True
) -> float | None:
    """Epoch seconds of the oldest record among the first ones of each of the `ranges` [first, end); None without a record.

    Without `committed`, records of open transactions count too.
    """
    times: dict[int, float] = {}
    with _consumer(servers, committed) as consumer:
        # All partitions at once: one after the other, a topic with a hundred of them would take half a minute.
        for number, _, message in _read(consumer, topic, ranges, most=1):
            times[number] = message.timestamp()[1] / 1000
    return min(times.values(), default=None)


def read_topic(servers: Cluster, topic: str, first: Mapping[int, int] | None = None) -> list[Record]:
    """The records of `each_record`."""
    return list(each_record(servers, topic, first))


def each_record(servers: Cluster, topic: str, first: Mapping[int, int] | None = None) -> Iterator[Record]:
    """Every record that the topic holds now, in order within a partition; null keys and values as b"".

    `first` maps partitions to the offset where reading begins; the default is the earliest offset.

    Raises:
        TopicSilent: the broker sent nothing for 30 s before the end was reached.
        KafkaException: the broker refuses, or does not answer.
    """
    begins, held = first or {}, offset_ranges(servers, topic)
    ranges = {number: (max(low, begins.get(number, low)), high) for number, (low, high) in held.items()}
    for partition, offset, message in _messages(servers, topic, ranges):
        yield Record(partition, offset, message.key() or b"", message.value() or b"", dict(message.headers() or []))


def count_with_header(servers: Cluster, topic: str, ranges: Mapping[int, tuple[int, int]], header: str) -> int:
    """The number of records with this header in `ranges`: partition -> offsets [first, end)."""
    return sum(header in dict(message.headers() or []) for _, _, message in _messages(servers, topic, ranges))


def record_at(servers: Cluster, topic: str, partition: int, offset: int) -> Message:
    """One record, as Kafka's client gives it."""
    ((_, _, message),) = _messages(servers, topic, {partition: (offset, offset + 1)})
    return message


def held_offsets(
    servers: Cluster, topic: str, ranges: Mapping[int, Sequence[tuple[int, int]]], most: int | None = None
) -> dict[int, array[int]]:
    """Partition -> offsets in its `ranges` (ascending, each [first, end)) that hold a record; at most the first `most` of each range.

    Transaction markers, aborted records and records that were deleted or compacted leave offsets without a record.
    """
    found = {number: array("q") for number, spans in ranges.items() if spans}
    if found:
        with _consumer(servers) as consumer:
            # One client, and the partitions side by side: a client for each would take longer than a lease lasts.
            for spans in zip_longest(*(ranges[number] for number in found), fillvalue=(0, 0)):
                for number, offset, _ in _read(consumer, topic, dict(zip(found, spans, strict=True)), most):
                    found[number].append(offset)
    return found


def _messages(
    servers: Cluster, topic: str, ranges: Mapping[int, tuple[int, int]]
) -> Iterator[tuple[int, int, Message]]:
    with _consumer(servers) as consumer:
        yield from _read(consumer, topic, ranges)


def _read(
    consumer: Consumer, topic: str, ranges: Mapping[int, tuple[int, int]], most: int | None = None
) -> Iterator[tuple[int, int, Message]]:
    """(partition, offset, message) of the records in `ranges`, or of the first `most` of each range.

    The last offsets of a range may hold no record (a transaction marker, for example). The range is then finished by a record
    after it, or by the end of the partition.
    """
    left = {number: end for number, (first, end) in ranges.items() if end > first}
    assigned = [TopicPartition(topic, number, ranges[number][0]) for number in left]
    consumer.assign(assigned)
    consumer.resume(assigned)  # a partition that was paused stays paused when it is assigned again
    last_message, given = time.monotonic(), Counter[int]()
    # `consume` waits until it has this many messages, or for its time-out.
    wanted = sum(min(end - ranges[number][0], most or end) for number, end in left.items())
    at_once = min(5000, wanted)
    while left:
        for message in consumer.consume(at_once, timeout=0.2):
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is not None and error.code() in REFUSED:
                raise KafkaException(error)
            if partition not in left or offset is None:
                continue
            if error is None:
                last_message = time.monotonic()
                if offset < left[partition]:
                    given[partition] += 1
                    yield partition, offset, message
            if (error is None and (given[partition] == most or offset + 1 >= left[partition])) or _is_end(error):
                del left[partition]
                if left:
                    consumer.pause([TopicPartition(topic, partition)])
        if left and time.monotonic() - last_message > SILENCE_SECONDS:
            raise TopicSilent(
                f"Kafka sent no record of topic {topic} for {SILENCE_SECONDS:.0f} s. See `shop-streams status`."
            )


def _is_end(error: KafkaError | None) -> bool:
    return error is not None and error.code() == KafkaError._PARTITION_EOF
