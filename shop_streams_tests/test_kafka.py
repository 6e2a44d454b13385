"""Which offsets of a real topic hold a record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer

from shop_streams import kafka as module
from shop_streams.cluster import Cluster
from shop_streams.kafka import held_offsets
from shop_streams.settings import Settings
from shop_streams.topics import Topic, create_topics

PARTITIONS = 40


@pytest.fixture(scope="module")
def topic(kafka: Settings) -> str:
    """In each partition: offsets 0 to 9 committed, a marker at 10, 11 to 15 aborted, a marker at 16, 17 to 19 committed."""
    made = Topic(f"held-{uuid4().hex}", "", partitions=PARTITIONS)
    create_topics(kafka, (made,))
    producer = Producer({"bootstrap.servers": kafka.kafka, "transactional.id": uuid4().hex})
    producer.init_transactions(30)
    for count, commit in ((10, True), (5, False), (3, True)):
        producer.begin_transaction()
        for number in range(PARTITIONS):
            for _ in range(count):
                producer.produce(made.name, b"{}", partition=number)
        producer.flush(30)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    return made.name


def test_spans_of_each_partition(kafka: Settings, topic: str) -> None:
    spans = {0: [(0, 2), (8, 12), (15, 18)], 1: [(11, 17)], 2: [], 3: [(19, 20), (20, 21)], 4: [(0, 21)]}
    found = held_offsets(kafka.kafka, topic, spans)
    assert {number: list(offsets) for number, offsets in found.items()} == {
        0: [0, 1, 8, 9, 17], 1: [], 3: [19], 4: [*range(10), 17, 18, 19],
    }  # fmt: skip
    assert held_offsets(kafka.kafka, topic, {0: []}) == {}


def test_at_most_the_first_records_of_each_span(kafka: Settings, topic: str) -> None:
    found = held_offsets(kafka.kafka, topic, {0: [(0, 20), (0, 20)], 1: [(8, 20)], 2: [(19, 20)]}, most=3)
    assert {number: list(offsets) for number, offsets in found.items()} == {
        0: [0, 1, 2, 0, 1, 2], 1: [8, 9, 17], 2: [19]
    }  # fmt: skip


def test_many_partitions_are_read_by_one_client(kafka: Settings, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a client for each, a check of a topic with hundreds of partitions outlived the stream's lease."""
    opened, real = list[bool](), module._consumer

    @contextmanager
    def counted(servers: Cluster, committed: bool = True) -> Iterator[Consumer]:
        opened.append(committed)
        with real(servers, committed) as consumer:
            yield consumer

    monkeypatch.setattr(module, "_consumer", counted)
    found = held_offsets(kafka.kafka, topic, {number: [(9, 18)] for number in range(PARTITIONS)})
    assert {number: list(offsets) for number, offsets in found.items()} == {n: [9, 17] for n in range(PARTITIONS)}
    assert opened == [True]
