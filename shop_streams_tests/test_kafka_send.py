"""Records that are sent: the broker has each of them, or the caller gets an error."""

import uuid

import pytest

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import read_topic
from shop_streams.kafka_send import send_all
from shop_streams.settings import Settings
from shop_streams.topics import Topic, create_topics


@pytest.fixture
def topic(kafka: Settings) -> str:
    topic = Topic(f"sent-{uuid.uuid4().hex}", "", {"max.message.bytes": "500"}, partitions=1)
    create_topics(kafka, [topic])
    return topic.name


def test_the_broker_has_each_record(kafka: Settings, topic: str) -> None:
    send_all(kafka.kafka, topic, [("a", "1"), (None, "2")])
    assert [(one.key, one.value) for one in read_topic(kafka.kafka, topic)] == [(b"a", b"1"), (b"", b"2")]


def test_a_record_that_the_broker_refuses_is_an_error(kafka: Settings, topic: str) -> None:
    """With the batch that it is in. The client's `flush` counts what waits, not what was refused."""
    with pytest.raises(ShopStreamsError, match=f"did not take 2 of 2 records of topic {topic}: .*too large"):
        send_all(kafka.kafka, topic, [("a", "1"), ("b", "long" * 500)])


def test_a_broker_that_is_away_is_an_error(kafka: Settings, topic: str) -> None:
    away = kafka.model_copy(update={"kafka_port": 9})
    with pytest.raises(ShopStreamsError, match="did not acknowledge 1 of 1 records"):
        send_all(away.kafka, topic, [("a", "1")], seconds=1)
