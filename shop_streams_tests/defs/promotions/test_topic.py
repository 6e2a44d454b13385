"""The outbox's topic: the last number in it, and a full queue."""

import pytest
from confluent_kafka import Producer

from shop_streams.defs.promotions.schema import outbox_of
from shop_streams.defs.promotions.topic import RECENT_OFFSETS, last_sequence
from shop_streams.kafka import read_topic
from shop_streams.kafka_send import produce
from shop_streams.settings import Settings
from shop_streams.topics import Topic

pytestmark = pytest.mark.with_stack


def test_the_last_sequence_is_found_however_many_records_follow_it(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    numbers = outbox_of(topic).name
    assert last_sequence(settings.kafka, numbers, "ours").number == 0
    producer = Producer({"bootstrap.servers": settings.kafka})
    for number in (6, 7):
        producer.produce(numbers, str(number), "ours", partition=0)
    for number in range(RECENT_OFFSETS + 5):
        producer.produce(numbers, str(number), "another database's", partition=0)
    assert producer.flush(30) == 0
    assert last_sequence(settings.kafka, numbers, "ours").number == 7
    assert last_sequence(settings.kafka, numbers, "another database's").number == RECENT_OFFSETS + 4


def test_a_full_queue_is_waited_for(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    numbers = outbox_of(topic).name
    producer = Producer({"bootstrap.servers": settings.kafka, "queue.buffering.max.messages": 2, "linger.ms": 50})
    for number in range(30):
        produce(producer, numbers, str(number), "ours", partition=0)
    assert producer.flush(30) == 0
    values = [record.value.decode() for record in read_topic(settings.kafka, numbers)]
    assert values == [str(number) for number in range(30)]
