"""The alarm before Kafka's retention takes what a stream has not read."""

import time
from dataclasses import replace
from uuid import uuid4

import dagster as dg
from confluent_kafka import Producer

from shop_streams.defs.sales.streams import INGEST
from shop_streams.streaming.checks import build_checks
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import Stack

DAY = 86_400


def retention_of_unread(stack: Stack, age_seconds: float) -> dg.AssetCheckResult:
    """The check's answer for a topic whose one record is that old, and whose stream has never run."""
    name = f"retention-{uuid4().hex}"
    topic = Topic(name, "", {"retention.ms": str(7 * DAY * 1000)})
    create_topics(stack.settings, (topic,))
    producer = Producer({"bootstrap.servers": stack.settings.kafka})
    producer.produce(name, b"{}", timestamp=int((time.time() - age_seconds) * 1000))
    assert producer.flush(30) == 0
    checks = build_checks(replace(INGEST, name=name, topic=topic))
    check = next(one for one in checks if any(key.name == "retention" for key in one.check_keys))
    result = check()
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_an_unread_record_raises_the_alarm_at_half_of_its_retention(stack: Stack) -> None:
    fine = retention_of_unread(stack, 3 * DAY)
    assert fine.passed and fine.description is None
    late = retention_of_unread(stack, 4 * DAY)
    assert not late.passed
    assert "raise the topic's retention.ms" in str(late.description)
    assert late.metadata["oldest_unread_hours"].value == 96
    assert late.metadata["retention_hours"].value == 168
