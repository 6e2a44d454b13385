"""Whatever ends a stream's run: its query is stopped, its lease is given back, and the failure says what to do next."""

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import grpc
import psycopg2
import pytest
from confluent_kafka import KafkaException
from pyspark.errors import PySparkException
from pyspark.errors.exceptions.connect import SparkConnectGrpcException
from sqlalchemy.exc import OperationalError

from shop_streams.defs.sales.streams import INGEST
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import get_settings
from shop_streams.streaming import failure, run, stall
from shop_streams.streaming.checkpoint import PlannedBatch
from shop_streams.streaming.lease import Superseded
from shop_streams.streaming.patience import DatabaseAway
from shop_streams.streaming.query import QueryEnded, SparkGone, SparkRestarted
from shop_streams.streaming.run import run_stream
from shop_streams.streaming.switch import SENSOR_TAG, keep_alive_name

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
IDLE = {"isTriggerActive": False}
FINISHED_AT_ONCE = SimpleNamespace(isActive=True, lastProgress=None, status=IDLE)


class World:
    """Everything around a run; `problem` is what its query meets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.problem: BaseException | None = None
        self.rests = False
        self.beats = 0  # so many until the stack is stopped; 0 for no end
        self.sound = False
        self.database: Exception | None = None
        self.run: dg.DagsterRun | None = dg.DagsterRun(
            "shop_events_ingest_stream", status=STARTED, tags={SENSOR_TAG: keep_alive_name(INGEST.name)}
        )
        self.stopped: list[bool] = []  # at a batch boundary?
        self.released = False
        self.topic = "cluster/topic"
        self.waiting: int | None = 0
        self.noted = ""
        self.said: list[str] = []
        self.settings = get_settings().model_copy(update={"lease_seconds": 0.2, "beat_seconds": 0.01})
        instance = SimpleNamespace(get_run_by_id=lambda _id: self.run, all_instigator_state=self._switches)
        self.context = SimpleNamespace(
            instance=instance,
            run=self.run,
            run_id="run",
            log=SimpleNamespace(info=self.said.append),
            log_event=print,
            consume_events=list,
        )
        for module in (run, failure):
            monkeypatch.setattr(module, "Leases", lambda _dsn: self)
        monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)  # a terminated run changes it
        monkeypatch.setattr(run, "RestRequest", SimpleNamespace(of=lambda _settings: self))
        monkeypatch.setattr(run, "wait_for_spark", lambda _settings: None)
        monkeypatch.setattr(run, "probe_spark", lambda _settings: None)
        monkeypatch.setattr(run, "due", lambda *_: None)
        monkeypatch.setattr(run, "start_in_turn", self._start)
        monkeypatch.setattr(run, "topic_identity", lambda *_: self.topic)
        monkeypatch.setattr(run, "consumer_lag", lambda *_: self.waiting)
        monkeypatch.setattr(run, "stop_queries", self._stop)
        self.checks_logged: list[str] = []
        self.switched_off = False
        monkeypatch.setattr(run, "RunChecks", lambda *_: SimpleNamespace(log=self._log_checks))
        monkeypatch.setattr(run, "Reporter", lambda *_: SimpleNamespace(start=print, events=lambda *_: []))

    def execute(self) -> None:
        run_stream(cast(dg.OpExecutionContext, self.context), INGEST, self.settings, lambda: None)

    @contextmanager
    def hold(self, *_: Any) -> Iterator[Any]:
        try:
            yield self
        finally:
            self.released = True

    @contextmanager
    def beating(self, *_: Any) -> Iterator[None]:
        yield

    def beat(self, _lag: int | None, _progress: Any, sound: bool) -> None:
        if self.problem:
            raise self.problem
        self.sound = sound
        self.beats -= 1
        self.rests = self.rests or self.beats == 0

    def made(self) -> bool:
        return self.rests

    def note_problem(self, _stream: str, _run_id: str, problem: str) -> None:
        self.noted = problem

    def _log_checks(self) -> None:
        self.checks_logged.append("at rest" if self.released else "running")

    epoch = 1

    def _switches(self) -> list[Any]:
        if self.database:
            raise self.database
        return [SimpleNamespace(instigator_name=keep_alive_name(INGEST.name), is_running=not self.switched_off)]

    def _start(self, *_: Any) -> Any:
        return FINISHED_AT_ONCE

    def _stop(self, _spark: Any, _probe: Any, at_boundary: bool) -> None:
        assert not self.released  # nobody may begin before
        self.stopped.append(at_boundary)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


AWAY = OperationalError("select", {}, Exception("connection refused"))
PROBLEMS = {
    "query ended": (QueryEnded("division by zero"), True, "Read the cause above"),
    "Spark is gone": (SparkGone("no answer"), True, "once Spark is back"),
    "a newer run took over": (Superseded("a newer one"), False, "Nothing to do"),
    "Spark refuses": (PySparkException("no"), True, "logs/spark.log"),
    "Kafka refuses": (KafkaException("no"), True, "logs/kafka.log"),
    "ours": (ShopStreamsError("do this"), True, "way out above"),
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


@pytest.mark.parametrize("error", [psycopg2.OperationalError("no"), psycopg2.InterfaceError("closed")])
def test_a_companion_that_ends_over_postgresql_ends_the_query_too(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: Any) -> None:
        raise error

    monkeypatch.setattr(run.StreamRun, "_take", ended)  # like the sidecar, outside of what is waited for
    with pytest.raises(dg.Failure) as failure:
        world.execute()
    assert "logs/postgres.log" in str(failure.value.metadata["next_step"].value)
    assert (world.stopped, world.released) == ([True], True)


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
def test_a_run_that_dagster_knows_no_more_ends(world: World, state: str) -> None:
    world.run = None if state == "deleted" else dg.DagsterRun("shop_events_ingest_stream", status=FAILURE)
    with pytest.raises(dg.DagsterExecutionInterruptedError):  # Dagster leaves a finished run's status as it is then
        world.execute()
    assert (world.stopped, world.released) == ([True], True)


def test_a_stack_that_is_stopped_ends_the_run_in_peace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_topic_that_is_made_again_while_its_stream_runs_ends_the_run(world: World) -> None:
    identities = iter(["cluster/first", "cluster/first"])
    run.topic_identity = lambda *_: next(identities, "cluster/second")  # World puts it back
    with pytest.raises(dg.Failure, match="was deleted and made again: its id is second, not first"):
        world.execute()
    assert world.stopped == [True] and world.released
    assert "Switch the stream off" in world.noted  # for `shop-streams status`


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


def test_a_query_that_commits_nothing_while_records_wait_fails_its_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settings = world.settings.model_copy(update={"stall_seconds": 0.05, "ingest_interval_seconds": 0})
    world.waiting = 7
    monkeypatch.setattr(stall, "planned_batch", lambda *_: PlannedBatch(3, {0: 0}, {0: 5}))
    with pytest.raises(
        dg.Failure, match=r"batch 3 has not been committed for .*, and 7 records of topic shop_events wait"
    ):
        world.execute()
    assert world.stopped == [False] and world.released  # its batch does not come to an end
    assert "SHOP_STREAMS_STALL_SECONDS" in world.noted


def test_a_query_with_nothing_to_do_stays_alive(world: World) -> None:
    world.settings = world.settings.model_copy(update={"stall_seconds": 0.05, "ingest_interval_seconds": 0})
    world.beats = 30
    world.execute()
    assert world.sound


SPARK_DIED = {
    "in the middle of a call": (
        SparkConnectGrpcException("<_MultiThreadedRendezvous> Socket closed", grpc_status_code=grpc.StatusCode.UNAVAILABLE),
        "went away in the middle of a call", SparkGone.next_step,
    ),
    "and came back": (
        SparkConnectGrpcException("[INVALID_HANDLE.SESSION_NOT_FOUND] The handle is invalid."),
        "Spark was restarted", SparkRestarted.next_step,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPARK_DIED)
def test_a_death_of_spark_is_said_in_plain_words(world: World, case: str) -> None:
    world.problem, words, advice = SPARK_DIED[case]
    with pytest.raises(dg.Failure, match=words) as raised:
        world.execute()
    assert raised.value.metadata["next_step"].value == advice and words in world.noted
    shown = "".join(traceback.format_exception(raised.value))  # as Dagster shows it
    assert "Rendezvous" not in shown and "INVALID_HANDLE" not in shown


def test_a_query_that_ended_with_its_spark_counts_no_failure_of_its_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = "Job 7 cancelled because SparkContext was shut down"
    monkeypatch.setattr(
        run, "start_in_turn", lambda *_: SimpleNamespace(isActive=False, exception=lambda: gone, lastProgress=None)
    )
    monkeypatch.setattr(run.StreamRun, "_count_failure", lambda _self: pytest.fail("it was counted"))
    with pytest.raises(dg.Failure, match="Spark was restarted"):
        world.execute()


def test_a_terminated_run_shows_words_and_no_stack_trace(world: World) -> None:
    world.problem = dg.DagsterExecutionInterruptedError()
    with pytest.raises(dg.DagsterExecutionInterruptedError, match="the stream has stopped") as raised:
        world.execute()
    shown = traceback.TracebackException.from_exception(raised.value)  # as Dagster makes it
    assert len(shown.stack) == 0 and shown.__cause__ is None and shown.__suppress_context__
    assert (world.stopped, world.released) == ([True], True)


def test_a_server_that_never_answers_ends_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        @property
        def isActive(self) -> bool:
            return threading.Event().wait(30)

    monkeypatch.setattr(run, "start_in_turn", lambda *_: Hanging())
    monkeypatch.setattr(run, "CALL_SECONDS", 0.1)
    with pytest.raises(dg.Failure, match="Spark has not answered within 0 s"):
        world.execute()
    assert world.released and SparkGone.next_step in world.noted
