"""A producer's transaction that nobody ends: no record after it can be read, and the alarms say so."""

import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import cast

import dagster as dg
import pytest
from confluent_kafka import Producer

from shop_streams.defs.sales.streams import INGEST
from shop_streams.settings import Settings
from shop_streams.streaming import checks
from shop_streams.streaming.condition import behind, read_unread
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import Topic, create_topics

HOUR = 3600


@pytest.fixture
def spec(kafka: Settings) -> StreamSpec:
    topic = Topic(f"held-{uuid.uuid4().hex}", "", {"retention.ms": str(4 * HOUR * 1000)}, partitions=1)
    create_topics(kafka, [topic])
    return replace(INGEST, topic=topic)


def test_records_behind_an_open_transaction_raise_the_alarms(kafka: Settings, spec: StreamSpec, tmp_path: Path) -> None:
    settings = kafka.model_copy(update={"lake_uri": str(tmp_path)})
    dead = Producer({"bootstrap.servers": str(kafka.kafka), "transactional.id": uuid.uuid4().hex})
    dead.init_transactions(30)
    dead.begin_transaction()
    written = round((time.time() - 3 * HOUR) * 1000)
    for _ in range(2):
        dead.produce(spec.topic.name, b"never committed", timestamp=written)
    assert dead.flush(30) == 0
    other = Producer({"bootstrap.servers": str(kafka.kafka)})
    other.produce(spec.topic.name, b"after it")
    assert other.flush(30) == 0

    unread = read_unread(spec, settings)
    assert (unread.records, unread.age, unread.held) == (0, 0.0, 3)
    assert unread.held_age == pytest.approx(3 * HOUR, abs=60)
    assert behind(unread) == (
        "nothing waits; a producer's transaction is open for 3 h, and nobody can read past its first record"
    )
    look = checks.Look(spec, settings, cast(dg.DagsterInstance, None))
    lag, retention = checks.lag(look), checks.retention(look)
    assert not lag.passed and f"kafka-transactions.sh --bootstrap-server {kafka.kafka} find-hanging" in str(
        lag.description
    )
    assert not retention.passed  # 3 of 4 hours are over

    dead.abort_transaction(30)
    unread = read_unread(spec, settings)
    assert (unread.held, unread.held_age) == (0, 0.0) and unread.age < 60
