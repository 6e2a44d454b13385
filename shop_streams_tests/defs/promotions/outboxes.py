"""An outbox outside of its stream, on a database of its own."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from shop_streams.defs.promotions import notifications
from shop_streams.defs.promotions.outbox import Outbox
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases
from shop_streams.topics import Topic
from shop_streams_tests.defs.promotions.campaigns import Row, clients_of, sent
from shop_streams_tests.harness import Stack, wait_for


@contextmanager
def own_database(stack: Stack) -> Iterator[Settings]:
    name = f"promotions_{uuid.uuid4().hex}"
    connection = psycopg2.connect(stack.settings.postgres)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"create database {name}")
    dsn = urlsplit(stack.settings.postgres)._replace(path=f"/{name}").geturl()
    try:
        yield stack.settings.model_copy(update={"postgres_dsn": dsn})
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"drop database {name} with (force)")
        connection.close()


def as_taken(one: Row, arrival: int = 0) -> tuple[Any, ...]:
    place = (datetime(2026, 1, 1, tzinfo=UTC), 0, arrival)
    return (*[one[name] for name in notifications.CAMPAIGN_COLUMNS], one["datetime_created"], *place)


def epoch_of(settings: Settings) -> int:
    return Leases(settings.postgres).acquire("promotions-test", "run", 1, "host", 0)


def publish(settings: Settings, topic: Topic, campaign: Row, *clients: str) -> None:
    """Run an outbox of our own until the topic has these clients, each once."""
    with Outbox(settings, "promotions-test", epoch_of(settings), topic) as outbox:

        def arrived() -> bool:
            outbox.check()
            return len(sent(settings, campaign["adv_campaign_id"], topic.name)) >= len(clients)

        wait_for("the notifications in the topic", arrived, 60)
        time.sleep(1)  # time for one too many
        assert clients_of(sent(settings, campaign["adv_campaign_id"], topic.name)) == sorted(clients)
        wait_for("PostgreSQL to know", lambda: outbox.metrics()["not_yet_in_kafka"] == 0, 10)


def raised_by(outbox: Outbox, kind: type[Exception]) -> str:
    """What `check` raises, once it does."""

    def problem() -> str | None:
        try:
            outbox.check()
        except kind as error:
            return str(error)
        return None

    return str(wait_for(f"the outbox to raise {kind.__name__}", problem, 60))
