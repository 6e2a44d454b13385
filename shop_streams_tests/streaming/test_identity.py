"""A stream's offsets belong to one topic of one cluster: another one is refused in words, and so are records that are gone."""

import json
import uuid
from dataclasses import replace

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from shop_streams.defs.domains import STREAMS
from shop_streams.defs.sales import transforms
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.defs.sales.streams import INGEST
from shop_streams.kafka import held_offsets, read_topic
from shop_streams.lake import reader
from shop_streams.spark import open_session
from shop_streams.streaming.identity import (
    RecordsLost,
    TopicChanged,
    require_all_held,
    require_same,
    topic_identity,
    way_out,
)
from shop_streams.streaming.recover import make_plan, recover
from shop_streams.streaming.sinks import LakeSink
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.start import start_query
from shop_streams.topics import (
    APPEND_TIME,
    Topic,
    broker_time_problem,
    copies,
    create_topics,
    durability,
    topic_settings,
)
from shop_streams_tests.harness import Stack, wait_for
from shop_streams_tests.streaming.recovered import led

SALE = {"event_type": "buy", "category": "c", "item_id": "i", "item_price": 64, "uid": None, "timestamp": 1577865600000}


def stream_of(topic: Topic) -> StreamSpec:
    table = replace(SHOP_EVENTS, path=f"tests/{topic.name}")
    return replace(
        INGEST, name=topic.name, topic=topic, sink=LakeSink(table, "sales", transforms.validate, transforms.project)
    )


def catch_up(stack: Stack, stream: StreamSpec) -> int:
    """Run the stream until it has read its topic; the rows of its table."""
    query = start_query(stream, stack.settings, open_session(stack.settings), availableNow=True)
    while query.isActive:
        query.awaitTermination(1)
    assert query.exception() is None
    assert stream.sink.table is not None
    return reader.scan(stream.sink.table.uri(stack.settings), ["item_id"]).num_rows


def new_topic(stack: Stack, **config: str) -> Topic:
    topic = Topic(f"identity-{uuid.uuid4().hex}", "", config, partitions=1)
    create_topics(stack.settings, (topic,))
    return topic


def make_again(stack: Stack, topic: Topic) -> None:
    before = topic_identity(stack.settings.kafka, topic.name)
    admin = AdminClient({"bootstrap.servers": str(stack.settings.kafka)})
    admin.delete_topics([topic.name])[topic.name].result()
    wait_for("the topic to be gone", lambda: topic_identity(stack.settings.kafka, topic.name) is None)
    with pytest.raises(TopicChanged, match="no longer exists"):
        require_same(topic.name, str(before), topic_identity(stack.settings.kafka, topic.name), way_out("s"))
    create_topics(stack.settings, (topic,))


def test_a_topic_that_was_made_again_is_refused(stack: Stack) -> None:
    topic = new_topic(stack)
    stream = stream_of(topic)
    stack.produce(topic.name, [json.dumps(SALE).encode()] * 3)
    assert catch_up(stack, stream) == 3
    assert catch_up(stack, stream) == 3
    make_again(stack, topic)
    stack.produce(topic.name, [json.dumps(SALE).encode()] * 3)
    with pytest.raises(TopicChanged, match=r"was deleted and created again.*shop-streams recover"):
        catch_up(stack, stream)


def test_records_that_retention_deleted_before_they_were_read_are_reported(stack: Stack) -> None:
    topic = new_topic(stack)
    stream = stream_of(topic)
    stack.produce(topic.name, [json.dumps(SALE).encode()] * 2)
    assert catch_up(stack, stream) == 2
    stack.produce(topic.name, [json.dumps(SALE).encode()] * 5)
    admin = AdminClient({"bootstrap.servers": str(stack.settings.kafka)})
    for deleted in admin.delete_records([TopicPartition(topic.name, 0, 6)]).values():
        deleted.result()
    with pytest.raises(RecordsLost, match=r"4 of partition 0.*retention\.ms.*shop-streams recover"):
        catch_up(stack, stream)


@pytest.mark.parametrize(
    ("known", "found", "words"),
    [
        ("A/1", "A/1", None),
        ("A/1", "B/1", "another Kafka cluster: B, not A"),
        ("A/1", "A/2", "created again: its id is 2, not 1"),
        ("A/1", None, "no longer exists"),
    ],
)
def test_identities(known: str, found: str | None, words: str | None) -> None:
    if words is None:
        require_same("t", known, found, way_out("s"))
        return
    with pytest.raises(TopicChanged, match=words):
        require_same("t", known, found, way_out("s"))


@pytest.mark.parametrize(
    ("committed", "earliest", "lost"),
    [
        ({}, {0: 9}, None),
        ({0: 5}, {0: 5, 1: 0}, None),
        ({0: 5}, {0: 5, 1: 7}, "7 of partition 1"),  # the topic has gained it
        ({0: 5, 1: 2}, {0: 0, 1: 3}, "1 of partition 1"),
    ],
)
def test_what_counts_as_lost(committed: dict[int, int], earliest: dict[int, int], lost: str | None) -> None:
    if lost is None:
        require_all_held("t", committed, earliest, way_out("s"))
        return
    with pytest.raises(RecordsLost, match=lost):
        require_all_held("t", committed, earliest, way_out("s"))


@pytest.mark.parametrize("deleted", [0, 2])
def test_a_partition_that_a_topic_gains_is_read_from_its_first_record(stack: Stack, deleted: int) -> None:
    """Spark fails without a next step where retention was faster than the stream."""
    topic = new_topic(stack)
    stream = stream_of(topic)
    stack.produce(topic.name, [json.dumps(SALE).encode()])
    assert catch_up(stack, stream) == 1
    servers = str(stack.settings.kafka)
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_partitions([NewPartitions(topic.name, 2)])[topic.name].result()
    wait_for("its leader", lambda: led(stack.settings, topic.name))
    producer = Producer({"bootstrap.servers": servers})
    for _ in range(5):
        producer.produce(topic.name, json.dumps(SALE), partition=1)
    assert producer.flush(30) == 0
    if deleted:
        for answer in admin.delete_records([TopicPartition(topic.name, 1, deleted)]).values():
            answer.result()
        with pytest.raises(RecordsLost, match=r"2 of partition 1.*shop-streams recover"):
            catch_up(stack, stream)
        plan = make_plan(stream, stack.settings)
        assert plan.needed and plan.lost == deleted
        recover(stream, stack.settings, lambda _: None)
    assert catch_up(stack, stream) == 1 + 5 - deleted


def test_only_what_was_committed_counts(stack: Stack) -> None:
    """Five committed purchases of 64, and four aborted ones of a million: five rows, and the rest is no record."""
    topic = new_topic(stack)
    name = uuid.uuid4().hex
    producer = Producer({"bootstrap.servers": stack.settings.kafka, "transactional.id": name})
    producer.init_transactions(30)
    for price, times, commit in ((64, 5, True), (1_000_000, 4, False)):
        producer.begin_transaction()
        for _ in range(times):
            producer.produce(topic.name, json.dumps(SALE | {"item_price": price}))
        producer.flush(30)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    assert [json.loads(record.value)["item_price"] for record in read_topic(stack.settings.kafka, topic.name)] == [
        64
    ] * 5
    held = held_offsets(stack.settings.kafka, topic.name, {0: [(0, 11)]})
    assert list(held[0]) == [0, 1, 2, 3, 4]
    assert catch_up(stack, stream_of(topic)) == 5


def test_a_topic_of_an_earlier_version_is_given_the_brokers_time(stack: Stack) -> None:
    topic = Topic(f"identity-{uuid.uuid4().hex}", "", APPEND_TIME)
    admin = AdminClient({"bootstrap.servers": str(stack.settings.kafka)})
    admin.create_topics([NewTopic(topic.name, 1, 1)])[topic.name].result()
    servers = stack.settings.kafka
    before = broker_time_problem(topic.name, topic_settings(servers, topic.name), servers)
    assert before is not None and f"kafka-configs.sh --bootstrap-server {servers} --alter" in before
    create_topics(stack.settings, (topic,))
    assert broker_time_problem(topic.name, topic_settings(servers, topic.name), servers) is None
    assert copies(stack.settings.kafka, [topic.name, "no such topic"]) == {topic.name: 1}


@pytest.mark.parametrize("name", sorted({spec.topic.name for spec in STREAMS}))
def test_every_topic_that_a_stream_reads_has_the_brokers_time(stack: Stack, name: str) -> None:
    assert topic_settings(stack.settings.kafka, name)["message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize(
    ("brokers", "wished", "expected"), [(1, 3, (1, 1)), (2, 3, (2, 1)), (3, 3, (3, 2)), (9, 3, (3, 2)), (3, 1, (1, 1))]
)
def test_copies_of_a_new_topic(brokers: int, wished: int, expected: tuple[int, int]) -> None:
    assert durability(brokers, wished) == expected
