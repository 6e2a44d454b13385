"""A clock that is set back keeps no dead holder alive: leases, heartbeats and waits, on a real PostgreSQL."""

import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from shop_streams.beats import ProcessBeats
from shop_streams.defs.sales.streams import INGEST
from shop_streams.marts.repair import MartRun, readiness
from shop_streams.settings import Settings
from shop_streams.streaming import keep_alive
from shop_streams.streaming.factory import build_job
from shop_streams.streaming.keep_alive import CursorState, Run, decide
from shop_streams.streaming.lease import Leases, Superseded
from shop_streams_tests.harness import wait_for
from shop_streams_tests.local.test_database import execute, machine, server

TTL = 300.0  # a busy machine takes its time
HOUR = 3600.0


@pytest.fixture(scope="module")
def database() -> Iterator[Settings]:
    with machine("UTC") as settings, server(settings):
        Leases(settings.postgres).create_table()
        ProcessBeats(settings.postgres).create_table()
        yield settings.model_copy(update={"lease_seconds": TTL})


@pytest.fixture
def leases(database: Settings) -> Leases:
    return Leases(database.postgres)


def set_back(leases: Leases, stream: str, seconds: float) -> None:
    """The database's clock, as this lease sees it: what was written before is in the future."""
    execute(
        leases.dsn,
        f"update stream_leases set beat_at = beat_at + interval '{seconds} s', acquired_at = acquired_at + interval '{seconds} s'"
        f" where stream = '{stream}'",
    )


@pytest.mark.servers
def test_after_the_clock_was_set_back_a_dead_holder_loses_its_lease_at_once(leases: Leases) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    epoch = leases.acquire(stream, "dead", 1, "here", TTL)
    set_back(leases, stream, HOUR)
    assert not leases.read()[stream].fresh(TTL)
    assert leases.revoke(stream, epoch, TTL)
    assert leases.acquire(stream, "next", 2, "here", TTL) == epoch + 1
    assert leases.read()[stream].fresh(TTL)


@pytest.mark.servers
def test_a_run_takes_over_from_a_dead_holder_whose_beat_is_in_the_future(leases: Leases) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    epoch = leases.acquire(stream, "dead", 1, "here", TTL)
    set_back(leases, stream, HOUR)
    assert leases.acquire(stream, "next", 2, "here", TTL) == epoch + 1  # without the sensor, which may be off
    with pytest.raises(Superseded):
        leases.keep(stream, epoch)


def tick(settings: Settings, instance: dg.DagsterInstance) -> dg.SensorResult:
    sensor = keep_alive.build_sensor(INGEST, build_job(INGEST))
    context = dg.build_sensor_context(instance=instance, resources={"settings": settings})
    return cast(dg.SensorResult, sensor(context))


@pytest.mark.servers
def test_the_sensor_restarts_a_dead_stream_after_the_lease_and_leaves_a_living_one_alone(
    database: Settings, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep_alive, "RestRequest", SimpleNamespace(of=lambda _: SimpleNamespace(made=lambda: False)))
    monkeypatch.setattr(keep_alive, "end_later", lambda *_: None)
    epoch = leases.acquire(INGEST.name, "run", 1, "here", TTL)
    with dg.instance_for_test() as instance:
        set_back(leases, INGEST.name, HOUR)
        assert not tick(database, instance).run_requests, "it may live, and has a lease's time to beat"
        leases.keep(INGEST.name, epoch)  # it lives
        assert 0 <= leases.read()[INGEST.name].beat_age < TTL
        set_back(leases, INGEST.name, HOUR)
        assert not tick(database, instance).run_requests
        set_back(leases, INGEST.name, -TTL - 1)  # so much later, without a beat
        assert len(tick(database, instance).run_requests or ()) == 1
    with pytest.raises(Superseded):
        leases.keep(INGEST.name, epoch)


@pytest.mark.servers
def test_the_silence_of_a_process_that_beat_in_the_future_counts_from_now(database: Settings) -> None:
    beats, process = ProcessBeats(database.postgres), f"elsewhere:{uuid.uuid4()}"
    beats.beat(process)
    execute(
        database.postgres, f"update process_beats set beat_at = beat_at + interval '1 hour' where process = '{process}'"
    )
    first = beats.silent_for(process)
    assert first is not None and first >= 0
    wait_for("its silence to grow", lambda: (beats.silent_for(process) or 0) > first, 10)


def test_a_run_that_is_an_hour_from_its_start_or_end_is_not_waited_for() -> None:
    lost = decide(None, [Run("lost", "STARTED", -HOUR)], None, CursorState(), TTL)
    assert (lost.start, lost.dead_runs) == (True, ("lost",))
    failed = Run("failed", "FAILURE", -HOUR, -HOUR)
    assert decide(None, [], failed, CursorState(3, "failed"), TTL).start
    assert not decide(None, [], Run("failed", "FAILURE", 9, 2), CursorState(3, "failed"), TTL).start


def test_a_mart_does_not_back_off_from_a_failure_in_the_future() -> None:
    failed = [MartRun(f"run-{number}", "FAILURE", None, -HOUR, False) for number in range(3)]
    assert readiness(failed, lambda _process: False).wait is None
    assert readiness([MartRun("a", "FAILURE", None, 1.0, False)] * 3, lambda _process: False).wait is not None
