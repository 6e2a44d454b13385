"""A database and a lake for the tests of `forget-user`, without the other servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop_streams.defs.platform import copies, forget_waits
from shop_streams.settings import Settings
from shop_streams_tests.local.test_database import execute, machine, server

DAY = 86_400_000  # ms


@pytest.fixture(scope="module")
def database() -> Iterator[Settings]:
    with machine("UTC") as settings, server(settings):
        yield settings


@pytest.fixture
def home(database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A lake of its own; the database without tables; a Kafka that has nothing to read."""
    execute(database.postgres, "drop schema public cascade; create schema public")
    monkeypatch.setattr(forget_waits, "offset_ranges", lambda _servers, _topic: {0: (0, 0)})
    kept = {"cleanup.policy": "delete", "retention.ms": str(3 * DAY), "segment.ms": str(7 * DAY)}
    monkeypatch.setattr(copies, "topic_settings", lambda _servers, _topic: kept)
    return database.model_copy(update={"lake_uri": str(tmp_path), "kafka_bootstrap_servers": "127.0.0.1:1"})
