"""Two stacks on one database: the second one says which home and host runs a stream, and what to do. A real PostgreSQL."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from shop_streams.cli.status import _says, streams
from shop_streams.defs.sales.streams import INGEST
from shop_streams.errors import ShopStreamsError
from shop_streams.local.preflight import check_database
from shop_streams.settings import Settings
from shop_streams.streaming import keep_alive
from shop_streams.streaming.checks import Look, alive
from shop_streams.streaming.factory import build_job
from shop_streams.streaming.lease import Leases
from shop_streams.streaming.rest import stack_id
from shop_streams_tests.local.test_database import execute, machine, server

pytestmark = pytest.mark.servers

HOST = socket.gethostname()
WHAT_TO_DO = "Stop one of the two with `shop-streams down`, or set SHOP_STREAMS_POSTGRES_DSN"


@pytest.fixture(scope="module")
def database() -> Iterator[Settings]:
    with machine("UTC") as settings, server(settings):
        yield settings


@pytest.fixture
def first(database: Settings, tmp_path: Path) -> Settings:
    """A stack on an empty database."""
    execute(database.postgres, "drop table if exists stream_leases")
    settings = database.model_copy(
        update={"postgres_dsn": database.postgres, "home": tmp_path / "first", "lease_seconds": 300}
    )
    check_database(settings)
    return settings


@pytest.fixture
def second(first: Settings, tmp_path: Path) -> Settings:
    """Another stack on the same database."""
    return first.model_copy(update={"home": tmp_path / "second"})


def start(settings: Settings) -> int:
    """As the run of a stream does."""
    return Leases(settings.postgres, settings.home).acquire(INGEST.name, "run", 7, HOST, settings.lease_seconds)


def says(settings: Settings) -> str:
    with dg.instance_for_test() as instance:
        result = alive(Look(INGEST, settings, instance, ask_kafka=False))
    return f"{'passed' if result.passed else 'failed'}: {result.description}"


def test_the_second_stack_names_the_first_one_and_does_not_show_it_as_its_own(
    first: Settings, second: Settings
) -> None:
    start(first)
    stack_id(second.home)
    assert streams(first)[INGEST.name]["state"] == "running"
    assert says(first).startswith("passed: running")
    check_database(first)

    assert streams(second)[INGEST.name]["state"] == "elsewhere"
    told = says(second)
    assert (
        told.startswith("failed: ")
        and str(first.home) in told
        and f"on host {HOST} (pid 7)" in told
        and WHAT_TO_DO in told
    )
    with pytest.raises(ShopStreamsError, match=re.escape(str(first.home))) as refused:
        check_database(second)
    assert WHAT_TO_DO in str(refused.value)
    assert str(first.home) in _says(second, ask_kafka=False)[INGEST.name], "in a home that has started nothing yet"


def test_the_second_ones_sensor_says_so_too(first: Settings, second: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_alive, "RestRequest", SimpleNamespace(of=lambda _: SimpleNamespace(made=lambda: False)))
    start(first)
    sensor = keep_alive.build_sensor(INGEST, build_job(INGEST))
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = [
            cast(dg.SensorResult, sensor(dg.build_sensor_context(instance=instance, resources={"settings": stack})))
            for stack in (first, second)
        ]
    ours, theirs = (str(cast(dg.SkipReason, tick.skip_reason).skip_message) for tick in ticks)
    assert ours.startswith("alive") and str(first.home) in theirs


def test_once_the_first_one_has_stopped_or_died_the_second_one_may_start(first: Settings, second: Settings) -> None:
    epoch = start(first)
    Leases(first.postgres).release(INGEST.name, epoch)
    check_database(second)
    start(first)
    execute(first.postgres, "update stream_leases set beat_at = beat_at - interval '301 s'")
    check_database(second)
    assert start(second) == epoch + 2
    assert streams(second)[INGEST.name]["state"] == "running" and streams(first)[INGEST.name]["state"] == "elsewhere"


def test_a_moved_home_is_the_same_stack_and_a_copy_is_another(
    first: Settings, second: Settings, tmp_path: Path
) -> None:
    start(first)
    second.home.mkdir()
    (second.home / "stack.id").write_text(stack_id(first.home))  # a copy, while the original runs
    assert streams(second)[INGEST.name]["state"] == "elsewhere"
    (tmp_path / "link").symlink_to(first.home)
    assert streams(first.model_copy(update={"home": tmp_path / "link"}))[INGEST.name]["state"] == "running"
    execute(first.postgres, "update stream_leases set released_at = beat_at")  # moved, once it has stopped
    start(second)
    assert streams(second)[INGEST.name]["state"] == "running"


def test_a_home_of_an_earlier_version_keeps_its_streams(first: Settings) -> None:
    execute(first.postgres, "alter table stream_leases drop column stack, drop column home")
    Leases(first.postgres).create_table()
    Leases(first.postgres).acquire(INGEST.name, "run", 7, HOST, 300)  # a run of that version writes neither id nor home
    check_database(first)
    assert streams(first)[INGEST.name]["state"] == "running" and says(first).startswith("passed: running")
    assert not (first.home / "stack.id").exists(), "to look writes nothing"
