"""Whatever ends a stream's run: its query is stopped, its lease is given back, and the failure says what to do next."""

import itertools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import psycopg2
import pytest
from confluent_kafka import KafkaException
from pyspark.errors import PySparkException
from sqlalchemy.exc import OperationalError

from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.defs.sales.streams import INGEST
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import get_settings
from shop_streams.streaming import run, run_end
from shop_streams.streaming.checkpoint import PlannedBatch
from shop_streams.streaming.lease import Superseded
from shop_streams.streaming.patience import DatabaseAway
from shop_streams.streaming.query import QueryEnded, SparkGone
from shop_streams.streaming.run_end import run_seconds
from shop_streams_tests.streaming.world import FAILURE, FINISHED_AT_ONCE, World

AWAY = OperationalError("select", {}, Exception("connection refused"))
PROBLEMS = {
    "query ended": (QueryEnded("division by zero"), True, "Read the cause above"),
    "Spark is gone": (SparkGone("no answer"), True, "once Spark is back"),
    "a newer run took over": (Superseded("a newer one"), False, "Nothing to do"),
    "Spark refuses": (PySparkException("no"), True, "logs/spark.log"),
    "Kafka refuses": (KafkaException("no"), True, "logs/kafka.log"),
    "ours": (ShopStreamsError("do this"), True, "steps in the message"),
    "PostgreSQL away for too long": (DatabaseAway("for 16 s"), True, "logs/postgres.log"),
    "nobody has foreseen": (ZeroDivisionError("a bug"), True, "logs/dagster_code_server.log"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_a_failure_stops_the_query_gives_the_lease_back_and_advises(world: World, case: str) -> None:
    world.problem, at_boundary, advice = PROBLEMS[case]
    with pytest.raises(dg.Failure) as failure:
        world.execute()
    assert str(world.problem) in str(failure.value.description)
    assert advice in str(failure.value.metadata["next_step"].value)
    assert not failure.value.allow_retries
    assert (world.stopped, world.released) == ([at_boundary], True)
    assert world.checks_logged[-1] == "failed"  # the sensor may be off


@pytest.mark.parametrize("error", [psycopg2.OperationalError("no"), psycopg2.InterfaceError("closed")])
def test_a_sidecar_that_ends_over_postgresql_ends_the_query_too(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: Any) -> None:
        raise error

    monkeypatch.setattr(run.StreamRun, "_keep", ended)  # like the sidecar, outside of what is waited for
    with pytest.raises(dg.Failure) as failure:
        world.execute()
    assert "logs/postgres.log" in str(failure.value.metadata["next_step"].value)
    assert (world.stopped, world.released) == ([True], True)


@pytest.mark.parametrize("problem", [None, QueryEnded("oops")])
def test_the_lease_is_kept_while_a_sidecar_ends_which_may_take_longer(world: World, problem: Exception | None) -> None:
    kept: list[bool] = []

    @contextmanager
    def sidecar(*_: Any) -> Iterator[Any]:
        try:
            yield SimpleNamespace(check=lambda: None)
        finally:
            kept.append(world.kept and not world.stopped)

    world.problem, world.beats = problem, 3
    spec = replace(INGEST, sidecar=cast(Any, SimpleNamespace(run=sidecar)))
    with nullcontext() if problem is None else pytest.raises(dg.Failure):
        world.execute(spec)
    assert kept == [True] and world.released


def test_what_has_grown_since_the_last_report_is_reported_when_the_run_ends(world: World) -> None:
    """The next run takes the table's rows as reported."""
    world.last_report = [dg.AssetMaterialization(INGEST.output, partition="2026-01-01")]
    logged: list[str | None] = []
    world.context.log_event = lambda event: logged.append(event.partition)
    world.beats = 3
    world.execute()
    assert logged == ["2026-01-01"]


def test_a_failure_while_it_starts_stops_what_has_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise dg.DagsterExecutionInterruptedError

    monkeypatch.setattr(run, "start_in_turn", interrupted)
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        world.execute()
    assert (world.stopped, world.released) == ([True], True)


def test_dagsters_storage_away_is_waited_for_until_the_lease_is_over(world: World) -> None:
    world.database = AWAY
    with pytest.raises(dg.Failure, match=r"not answered for 0 s, longer than the lease of 0 s.*refused"):
        world.execute()
    assert (world.stopped, world.released) == ([True], True)


@pytest.mark.parametrize("state", ["deleted", "failed"])
def test_a_run_that_dagster_has_deleted_ends(world: World, state: str) -> None:
    world.run = None if state == "deleted" else dg.DagsterRun("shop_events_ingest_stream", status=FAILURE)
    with pytest.raises(dg.DagsterExecutionInterruptedError):  # Dagster leaves a finished run's status as it is then
        world.execute()
    assert (world.stopped, world.released) == ([True], True)


def test_a_stack_that_is_stopped_ends_the_run_cleanly(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: Any) -> Any:
        world.rests = True
        return FINISHED_AT_ONCE

    monkeypatch.setattr(run, "start_in_turn", started)
    world.execute()
    assert (world.stopped, world.released) == ([True], True)
    assert "the stack is being stopped" in world.said[-1]
    assert world.checks_logged == ["running"]
    world.stopped.clear()
    world.execute()  # one that was starting meanwhile does not begin at all
    assert world.stopped == []


def test_a_stream_that_was_switched_off_logs_its_checks_once_more(world: World) -> None:
    """Nobody else would say for a quarter of an hour that it rests."""
    world.switched_off = True
    world.execute()
    assert world.checks_logged == ["running", "at rest"]


def test_a_run_that_has_lasted_its_hours_ends_and_the_sensor_starts_the_next(world: World) -> None:
    world.settings = world.settings.model_copy(update={"run_hours": 1e-9})
    world.execute()
    assert (world.stopped, world.released) == ([True], True)
    assert "1e-09 hours (RUN_HOURS): the next run continues" in world.said[-1]
    assert world.checks_logged == ["running"], "`alive` does not fail for the moment in between"


def test_a_run_that_a_person_started_by_a_switch_that_is_off_does_not_end_by_its_hours(world: World) -> None:
    assert world.run is not None
    world.context.run = dg.DagsterRun("shop_events_ingest_stream")
    world.switched_off, world.beats = True, 5
    world.settings = world.settings.model_copy(update={"run_hours": 1e-9})
    world.execute()
    assert "the stack is being stopped" in world.said[-1], "nobody would start the next run"


@pytest.mark.parametrize("ticked_at", [None, time.time() - 3600], ids=["never", "an hour ago"])
def test_a_run_does_not_end_by_its_hours_while_its_sensor_does_not_tick(world: World, ticked_at: float | None) -> None:
    """The daemon is down, or the code does not load: nobody would start the next run."""
    world.ticked_at, world.beats = ticked_at, 5
    world.settings = world.settings.model_copy(update={"run_hours": 1e-9})
    world.execute()
    assert "the stack is being stopped" in world.said[-1]


@pytest.mark.parametrize("patience", [3600.0, 0.0])
def test_the_hours_wait_for_a_batch_but_not_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(run_end, "PATIENCE_SECONDS", patience)
    in_batch = SimpleNamespace(isActive=True, lastProgress=None, status={"isTriggerActive": True})
    monkeypatch.setattr(run, "start_in_turn", lambda *_: in_batch)
    world.beats, world.settings = 5, world.settings.model_copy(update={"run_hours": 1e-9})
    world.execute()
    assert ("RUN_HOURS" in world.said[-1]) == (patience == 0.0)


def test_a_stream_that_is_switched_off_while_its_stack_stops_logs_nothing_more(world: World) -> None:
    world.switched_off = world.rests = True
    world.execute()
    assert world.checks_logged == []


def test_streams_do_not_all_end_at_once_and_without_hours_never() -> None:
    settings = get_settings().model_copy(update={"run_hours": 24.0})
    seconds = [run_seconds(spec.name, settings) for spec in LAKE_STREAMS]
    assert all(86_400 <= one <= 86_400 * 1.1 for one in seconds)
    assert min(abs(one - other) for one, other in itertools.combinations(seconds, 2)) > 60
    assert run_seconds("any", settings.model_copy(update={"run_hours": 0.0})) == math.inf


def test_a_topic_that_is_made_again_while_its_stream_runs_ends_the_run(world: World) -> None:
    identities = iter(["cluster/first", "cluster/first"])
    run.topic_identity = lambda *_: next(identities, "cluster/second")  # World puts it back
    with pytest.raises(dg.Failure, match="was deleted and created again: its id is second, not first"):
        world.execute()
    assert world.stopped == [True] and world.released
    assert "shop-streams recover" in world.noted  # for `shop-streams status`


def test_a_run_whose_query_fails_counts_the_failure_of_its_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or no batch would ever be narrowed down."""
    counted: list[tuple[str, int]] = []
    failed = SimpleNamespace(isActive=False, lastProgress=None, exception=lambda: "division by zero")
    monkeypatch.setattr(run, "start_in_turn", lambda *_: failed)
    monkeypatch.setattr(run, "planned_batch", lambda *_: PlannedBatch(7, {0: 0}, {0: 5}))
    count = SimpleNamespace(count=lambda stream, batch_id: counted.append((stream, batch_id)))
    monkeypatch.setattr(run, "BatchFailures", lambda _dsn: count)
    with pytest.raises(dg.Failure, match="division by zero"):
        world.execute()
    assert counted == [(INGEST.name, 7)]


@pytest.mark.parametrize("rests", [False, True])
def test_a_report_of_many_partitions_does_not_hold_up_the_beats(world: World, rests: bool) -> None:
    """After a restore, 1,800 partitions may have grown; Dagster needs about 8 ms for each."""
    partitions = [str(number) for number in range(1800)]
    world.report = [dg.AssetMaterialization(INGEST.output, partition=key) for key in partitions]
    logged: list[str | None] = []
    since_beat: list[int] = []

    def log(event: Any) -> None:
        time.sleep(0.0005)
        logged.append(event.partition)
        since_beat[-1] += 1

    def beat(*_: Any) -> None:
        since_beat.append(0)
        world.rests = len(logged) == len(partitions) or (rests and bool(logged))

    world.context.log_event, world.beat = log, beat  # type: ignore[method-assign, assignment]
    world.execute()
    assert logged == partitions, "each once, also those that were due when the stream was asked to rest"
    assert max(since_beat[:-1]) <= 50, "a beat's time of 10 ms has room for 20"
    assert world.released
