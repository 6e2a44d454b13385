"""Topics are created on other people's brokers, which have policies."""

import uuid

import pytest

from shop_streams.defs.domains import TOPICS
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import admin
from shop_streams.settings import Settings
from shop_streams.topics import Topic, create_topics


def test_a_topic_that_the_broker_refuses_is_named_with_the_reason_and_the_others_are_created(kafka: Settings) -> None:
    good, bad = (f"{word}-{uuid.uuid4().hex}" for word in ("good", "bad"))
    with pytest.raises(ShopStreamsError) as refused:
        create_topics(kafka, [Topic(bad, "", {"cleanup.policy": "burn"}), Topic(good, "")])
    first, command = str(refused.value).split("\n")
    assert f"{bad}: Invalid value burn for configuration cleanup.policy" in first and good not in first
    assert f"--create --if-not-exists --topic {bad} " in command and "--config cleanup.policy=burn" in command
    assert good in admin(kafka.kafka).list_topics(timeout=10).topics


def test_no_topic_asks_for_segments_that_managed_clusters_refuse() -> None:
    """Confluent Cloud's least `segment.bytes` is 52,428,800, and its least `segment.ms` 600,000."""
    assert not [topic.name for topic in TOPICS if "segment.bytes" in topic.config]
    assert all(int(topic.config.get("segment.ms", 600_000)) >= 600_000 for topic in TOPICS)
