"""A database and a topic of its own, for the once-only step by itself."""

import uuid
from collections.abc import Iterator

import pytest

from shop_streams.defs.promotions import tables
from shop_streams.defs.promotions.schema import outbox_of
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.defs.promotions.outboxes import own_database
from shop_streams_tests.harness import Stack


@pytest.fixture
def alone(stack: Stack) -> Iterator[tuple[Settings, Topic]]:
    """Settings with a database of its own, and an empty topic."""
    with own_database(stack) as settings:
        tables.create_subscribers(settings.postgres)
        tables.create_tables(settings.postgres)
        Leases(settings.postgres).create_table()
        topic = Topic(f"notifications-{uuid.uuid4().hex}", "")
        create_topics(settings, (topic, outbox_of(topic)))
        yield settings, topic
