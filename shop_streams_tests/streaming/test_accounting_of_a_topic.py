"""The accounting of a real topic: markers, aborted, compacted and deleted records, and letters that have expired."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pyarrow as pa
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import write_deltalake

from shop_streams.cli.status import topic_totals
from shop_streams.defs.platform import maintenance
from shop_streams.defs.platform.accounting import hour_account, hour_ranges, topic_hours
from shop_streams.defs.sales.streams import INGEST
from shop_streams.kafka import offset_ranges, read_topic
from shop_streams.lake.maintenance import expire
from shop_streams.lake.table import Column, Table
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import PartitionAccount, accounts, recent_account, topic_account
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.forgotten import record_origins
from shop_streams.streaming.sinks import LakeSink
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import wait_for


def topic_of(settings: Settings, **config: str) -> StreamSpec:
    """A stream from a new topic of one partition to a table of its own."""
    topic = Topic(f"accounts-{uuid4().hex}", "", config, partitions=1)
    create_topics(settings, (topic,))
    table = Table(topic.name, (Column("kafka_partition", "int"), Column("kafka_offset", "bigint")), (), "")
    return replace(INGEST, name=topic.name, topic=topic, sink=LakeSink(table, "", lambda x, _: x, lambda x: x))


def arrive(settings: Settings, spec: StreamSpec, offsets: list[int]) -> None:
    places = {
        "kafka_partition": pa.array([0] * len(offsets), pa.int32()),
        "kafka_offset": pa.array(offsets, pa.int64()),
    }
    write_deltalake(f"{settings.lake}/{spec.topic.name}", pa.table(places), mode="append")


def arrive_all(settings: Settings, spec: StreamSpec) -> None:
    arrive(settings, spec, [record.offset for record in read_topic(settings.kafka, spec.topic.name)])


def transaction(settings: Settings, topic: str, values: int, *, commit: bool) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka, "transactional.id": uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(values):
        producer.produce(topic, b"{}")
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def only(found: list[PartitionAccount]) -> tuple[int, int, int, bool]:
    """(offsets, rows, in flight, exact) of the one partition."""
    (one,) = found
    return one.high - one.low, one.rows, one.in_flight, one.exact


def test_transaction_markers_and_aborted_records_are_not_counted(kafka: Settings) -> None:
    spec = topic_of(kafka)
    transaction(kafka, spec.topic.name, 5, commit=True)
    transaction(kafka, spec.topic.name, 4, commit=False)
    assert only(accounts(spec, kafka)) == (11, 0, 5, True)
    arrive_all(kafka, spec)
    assert only(accounts(spec, kafka)) == (11, 5, 0, True)
    assert only(recent_account(spec, kafka).partitions) == (11, 5, 0, True)
    transaction(kafka, spec.topic.name, 2, commit=True)
    arrive(kafka, spec, [12])
    assert only(accounts(spec, kafka)) == (14, 6, 0, False), "offset 11 is a record, and missing"


def test_a_transaction_that_is_open_is_in_flight(kafka: Settings) -> None:
    spec = topic_of(kafka)
    transaction(kafka, spec.topic.name, 3, commit=True)
    arrive_all(kafka, spec)
    producer = Producer({"bootstrap.servers": kafka.kafka, "transactional.id": uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(spec.topic.name, b"{}")
    producer.flush(30)
    whole = offset_ranges(kafka.kafka, spec.topic.name, committed=False)
    assert only(accounts(spec, kafka, whole)) == (5, 3, 1, True)
    assert only(accounts(spec, kafka)) == (4, 3, 0, True), "read committed, the topic ends before it"
    producer.abort_transaction(30)
    assert only(accounts(spec, kafka)) == (6, 3, 0, True)


def test_compacted_and_deleted_records_are_not_counted(kafka: Settings) -> None:
    compacting = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "100"}
    spec = topic_of(kafka, **{"cleanup.policy": "compact", **compacting})
    producer = Producer({"bootstrap.servers": kafka.kafka})

    def compacted() -> bool:  # the segment that is written to is never compacted: a later record closes it
        producer.produce(spec.topic.name, b"{}", key=b"other")
        producer.flush(30)
        return len(read_topic(kafka.kafka, spec.topic.name)) < offset_ranges(kafka.kafka, spec.topic.name)[0][1]

    for _ in range(20):
        producer.produce(spec.topic.name, b"{}", key=b"same")
    producer.flush(30)
    wait_for("the compaction", compacted, 60)
    arrive_all(kafka, spec)
    (found,) = accounts(spec, kafka)
    assert found.exact and found.in_flight == 0 and found.records < found.high - found.low

    spec = topic_of(kafka)
    for _ in range(10):
        producer.produce(spec.topic.name, b"{}")
    producer.flush(30)
    arrive_all(kafka, spec)
    client = AdminClient({"bootstrap.servers": str(kafka.kafka)})
    for future in client.delete_records([TopicPartition(spec.topic.name, 0, 4)]).values():
        future.result(30)
    assert only(accounts(spec, kafka)) == (6, 6, 0, True)


def refuse(settings: Settings, spec: StreamSpec, offsets: list[int], days: int) -> None:
    """Dead letters of the topic's records, refused `days` ago."""
    letters = {
        "domain": pa.array([spec.domain] * len(offsets)),
        "topic": pa.array([spec.topic.name] * len(offsets)),
        "kafka_partition": pa.array([0] * len(offsets), pa.int32()),
        "kafka_offset": pa.array(offsets, pa.int64()),
        "raw": pa.array([b"{"] * len(offsets), pa.binary()),
        "reason": pa.array(["not JSON"] * len(offsets)),
        "at": pa.array([datetime.now(UTC) - timedelta(days=days)] * len(offsets), pa.timestamp("us", "UTC")),
    }
    write_deltalake(DEAD_LETTERS.uri(settings), pa.table(letters), mode="append", partition_by=["domain"])


def test_expired_letters_are_not_missing_in_any_account(kafka: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = topic_of(kafka)
    producer = Producer({"bootstrap.servers": kafka.kafka})
    for _ in range(10):
        producer.produce(spec.topic.name, b"{}")
    producer.flush(30)
    arrive(kafka, spec, [0, 1, 6, 7])
    refuse(kafka, spec, [2, 3, 4, 5], days=100)
    before = {0: (0, 10)}  # as somebody asked for while the topic had them
    all_of_it = {"records": 10, "rows": 4, "dead_letters": 4, "forgotten": 0, "lost": 0, "in_flight": 2, "missing": 0}
    assert topic_account(spec, kafka, before).sums == all_of_it
    client = AdminClient({"bootstrap.servers": str(kafka.kafka)})
    for future in client.delete_records([TopicPartition(spec.topic.name, 0, 4)]).values():
        future.result(30)
    monkeypatch.setattr(maintenance, "LAKE_STREAMS", [spec])
    gone = maintenance.forgotten_by_kafka(kafka)
    assert expire(DEAD_LETTERS.uri(kafka), "at", kafka.dead_letter_days, gone) == 2, "2 and 3 only: Kafka has 4 and 5"
    held = {"records": 6, "rows": 2, "dead_letters": 2, "forgotten": 0, "lost": 0, "in_flight": 2, "missing": 0}
    found = topic_account(spec, kafka, before)
    assert found.exact and found.sums == held
    hour = topic_hours.get_partition_key_for_timestamp(time.time())
    (ranges,) = hour_ranges(spec, kafka, [hour]).values()
    for account in (
        hour_account(spec, kafka, ranges),
        topic_totals(spec, kafka, True),
        recent_account(spec, kafka).sums,
    ):
        assert {name: account[name] for name in held} == held

    for future in client.delete_records([TopicPartition(spec.topic.name, 0, 10)]).values():
        future.result(30)
    expire(DEAD_LETTERS.uri(kafka), "at", kafka.dead_letter_days, maintenance.forgotten_by_kafka(kafka))
    monkeypatch.setattr("shop_streams.streaming.accounting.COUNTED_IN_FLIGHT", 1)  # as if there were many of them
    for found in (topic_account(spec, kafka), topic_account(spec, kafka, before)):
        assert found.exact and set(found.sums.values()) == {0}


def test_forgotten_records_are_not_missing_and_only_in_the_topic_that_they_were_in(kafka: Settings) -> None:
    spec = topic_of(kafka)
    producer = Producer({"bootstrap.servers": kafka.kafka})
    for _ in range(6):
        producer.produce(spec.topic.name, b"{}")
    producer.flush(30)
    arrive(kafka, spec, [1, 4, 5])
    places = pa.table({"kafka_partition": [0, 0, 0], "kafka_offset": [0, 2, 3]})
    record_origins(kafka, spec.topic.name, "another cluster/another id", places)
    record_origins(kafka, "another topic", None, places)
    assert topic_account(spec, kafka).sums["missing"] == 3
    record_origins(kafka, spec.topic.name, None, places)
    found = topic_account(spec, kafka)
    assert found.exact
    assert found.sums == {
        "records": 6, "rows": 3, "dead_letters": 0, "forgotten": 3, "lost": 0, "in_flight": 0, "missing": 0,
    }  # fmt: skip
    assert recent_account(spec, kafka).sums == found.sums
    assert topic_totals(spec, kafka, True) == found.sums | {"offsets": 6, "problem": None}


def test_gaps_among_many_records_are_read_alone(kafka: Settings) -> None:
    spec = topic_of(kafka)
    producer = Producer({"bootstrap.servers": kafka.kafka, "queue.buffering.max.messages": 1_100_000})
    for _ in range(400_000):
        producer.produce(spec.topic.name, b"{}")
    producer.flush(60)
    arrive(kafka, spec, [one for one in range(400_000) if one % 100_000 != 5])
    began = time.monotonic()
    assert only(accounts(spec, kafka)) == (400_000, 399_996, 0, False)
    assert time.monotonic() - began < 20


def test_what_the_stream_has_not_read_is_in_flight_without_being_looked_at(kafka: Settings) -> None:
    spec = replace(topic_of(kafka), max_offsets=lambda _settings: 3)
    producer = Producer({"bootstrap.servers": kafka.kafka})
    for _ in range(10):
        producer.produce(spec.topic.name, b"{}", partition=0)
    assert producer.flush(30) == 0
    arrive(kafka, spec, [0, 1])
    (found,) = accounts(spec, kafka)
    assert (found.rows, found.in_flight, found.missing, found.high, found.exact) == (2, 8, 0, 10, True)
