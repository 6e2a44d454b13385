"""Two stacks with a database each publish to one Kafka: neither fences the other. A real broker and a real PostgreSQL."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from shop_streams.cluster import Cluster
from shop_streams.defs.promotions import notifications, tables
from shop_streams.defs.promotions import outbox as outbox_module
from shop_streams.defs.promotions.outbox import Outbox
from shop_streams.defs.promotions.schema import outbox_of
from shop_streams.defs.promotions.topic import last_sequence, transactional
from shop_streams.kafka import TopicSilent
from shop_streams.kafka_access import refusal
from shop_streams.kafka_send import produce
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.defs.promotions.campaigns import clients_of, message, sent, subscribe
from shop_streams_tests.defs.promotions.outboxes import as_taken, epoch_of, own_database
from shop_streams_tests.harness import Stack, wait_for
from shop_streams_tests.local.test_database import machine, server

FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}


@pytest.fixture(scope="module")
def stores(kafka: Settings) -> Iterator[Stack]:
    with machine("UTC") as settings, server(settings):
        yield Stack(settings.model_copy(update={"kafka_bootstrap_servers": kafka.kafka}))


@pytest.fixture
def topic(stores: Stack) -> Topic:
    topic = Topic(f"notifications-{uuid.uuid4().hex}", "")
    create_topics(stores.settings, (topic, outbox_of(topic)))
    return topic


@contextmanager
def database(stores: Stack) -> Iterator[Settings]:
    with own_database(stores) as settings:
        tables.create_subscribers(settings.postgres)
        tables.create_tables(settings.postgres)
        Leases(settings.postgres).create_table()
        yield settings


def notify(settings: Settings, topic: Topic, *outboxes: Outbox) -> None:
    """Publish a campaign's notification, once."""
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a")
    notifications.write_campaigns(settings.postgres, [as_taken(campaign)])

    def arrived() -> bool:
        for outbox in outboxes:
            outbox.check()
        return bool(sent(settings, campaign["adv_campaign_id"], topic.name))

    wait_for("the notification in the topic", arrived, 60)
    assert clients_of(sent(settings, campaign["adv_campaign_id"], topic.name)) == ["a"]


def test_two_databases_publish_to_one_kafka_and_neither_is_fenced(
    stores: Stack, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []
    fenced: list[KafkaException] = []

    def counted(servers: Cluster, name: str) -> Any:
        ids.append(name)
        return transactional(servers, name)

    def noted(servers: Cluster, problem: BaseException, *topics: str) -> Any:
        if isinstance(problem, KafkaException) and problem.args[0].code() in FENCED:
            fenced.append(problem)
        return refusal(servers, problem, *topics)

    monkeypatch.setattr(outbox_module, "transactional", counted)
    monkeypatch.setattr(outbox_module, "refusal", noted)
    with database(stores) as one, database(stores) as two:
        with (
            Outbox(one, "promotions-test", epoch_of(one), topic) as first,
            Outbox(two, "promotions-test", epoch_of(two), topic) as second,
        ):
            for settings in (one, two, one, two):
                notify(settings, topic, first, second)
        # A publisher may have made another producer, after a slow commit.
        assert len(set(ids)) == 2 and not fenced
        before = len(ids)
        with Outbox(one, "promotions-test", epoch_of(one), topic) as again:  # such as of a home made again
            notify(one, topic, again)
        assert ids[before] in ids[:before], "the same database's next publisher fences the one before"


def test_a_number_behind_an_open_transaction_is_waited_for(stores: Stack, topic: Topic) -> None:
    """Otherwise a publisher would send again what it has sent, because another stack is in the middle of a transaction."""
    servers, sequence = stores.settings.kafka, outbox_of(topic).name
    with transactional(servers, uuid.uuid4().hex) as other, transactional(servers, uuid.uuid4().hex) as ours:
        other.begin_transaction()
        produce(other, sequence, "1", "theirs", partition=0)
        other.flush(30)
        _commit(ours, sequence, "7")
        with pytest.raises(TopicSilent, match="open transaction"):
            last_sequence(servers, sequence, "ours")
        other.commit_transaction(30)
        assert wait_for("the number", lambda: _found(servers, sequence), 30) == 7


def _commit(producer: Producer, topic: str, number: str) -> None:
    producer.begin_transaction()
    produce(producer, topic, number, "ours", partition=0)
    producer.commit_transaction(30)


def _found(servers: Cluster, topic: str) -> int | None:
    try:
        return last_sequence(servers, topic, "ours").number
    except TopicSilent:
        return None
