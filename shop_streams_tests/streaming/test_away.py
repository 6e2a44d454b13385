"""A real PostgreSQL that goes away: a short absence disturbs no stream, and after a longer one the next run starts at once."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from shop_streams.defs.sales.streams import INGEST
from shop_streams.settings import Settings
from shop_streams.streaming import failure, keep_alive, run
from shop_streams.streaming.factory import build_job
from shop_streams.streaming.lease import Leases
from shop_streams_tests.harness import wait_for
from shop_streams_tests.local.test_database import machine, server
from shop_streams_tests.streaming.world import World

pytestmark = pytest.mark.servers


@contextmanager
def running(world: World) -> Iterator[tuple[threading.Thread, list[BaseException]]]:
    """The stream's run in a thread, and the error that ended it."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            world.execute()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread, errors
    finally:
        world.rests = True
        thread.join(60)
    assert not thread.is_alive(), "the run has an end"


def requests(settings: Settings) -> int:
    """The runs that one tick of the sensor asks for."""
    sensor = keep_alive.build_sensor(INGEST, build_job(INGEST))
    with dg.instance_for_test() as instance:
        tick = sensor(dg.build_sensor_context(instance=instance, resources={"settings": settings}))
    return len(cast(dg.SensorResult, tick).run_requests or ())


@pytest.mark.parametrize(("lease_seconds", "survives"), [(60.0, True), (3.0, False)])
def test_postgresql_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, lease_seconds: float, survives: bool
) -> None:
    monkeypatch.setattr(keep_alive, "RestRequest", SimpleNamespace(of=lambda _: SimpleNamespace(made=lambda: False)))
    monkeypatch.setattr(keep_alive, "end_later", lambda *_: None)
    for module in (run, failure):
        monkeypatch.setattr(module, "Leases", Leases)
    with machine("UTC") as home:
        ours = {
            "home": home.home,
            "postgres_port": home.postgres_port,
            "lease_seconds": lease_seconds,
            "beat_seconds": 0.1,
        }
        world.settings = settings = world.settings.model_copy(update=ours)
        leases = Leases(settings.postgres)
        with ExitStack() as first:
            first.enter_context(server(settings))
            leases.create_table()
            with running(world) as (thread, errors):
                wait_for("the first report", lambda: world.checks_logged == ["running"], 60)
                before = leases.read()[INGEST.name]
                assert not errors
                first.close()
                time.sleep(4)
                with server(settings):
                    if survives:
                        wait_for("a beat", lambda: leases.read()[INGEST.name].beat_age < 1, 30)
                        assert leases.read()[INGEST.name].epoch == before.epoch and not errors
                        assert requests(settings) == 0
                    else:
                        (error,) = wait_for("the run to end", lambda: errors, 30)
                        assert "PostgreSQL has not answered" in str(error) and world.stopped == [True]
                        assert requests(settings) == 1
                    world.rests = True
                    wait_for("the run's last words, while PostgreSQL is there", lambda: not thread.is_alive(), 60)
