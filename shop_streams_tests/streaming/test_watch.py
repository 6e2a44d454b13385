"""A query that hangs, a Spark that dies and a person who terminates: each ends a stream's run in plain words."""

import threading
import time
import traceback
from types import SimpleNamespace

import dagster as dg
import grpc
import pytest
from pyspark.errors.exceptions.connect import SparkConnectGrpcException

from shop_streams.streaming import run, stall, start
from shop_streams.streaming.checkpoint import PlannedBatch
from shop_streams.streaming.query import SparkGone, SparkRestarted
from shop_streams_tests.streaming.world import FINISHED_AT_ONCE, World


def test_a_query_that_commits_nothing_while_records_wait_fails_its_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settings = world.settings.model_copy(update={"stall_seconds": 0.05, "ingest_interval_seconds": 0})
    world.waiting = 7
    monkeypatch.setattr(stall, "planned_batch", lambda *_: PlannedBatch(3, {0: 0}, {0: 5}))
    with pytest.raises(
        dg.Failure, match=r"batch 3 has not been committed for .*, while 7 records of topic shop_events wait"
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


def test_a_start_that_is_only_slow_gets_more_time_after_each_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that reads the whole topic for its first event."""

    def slow(*_: object) -> object:
        time.sleep(0.5)
        return FINISHED_AT_ONCE

    monkeypatch.setattr(run, "start_in_turn", slow)
    monkeypatch.setattr(start, "TURN_SECONDS", 0.05)
    monkeypatch.setattr(start, "START_SECONDS", 0.05)
    world.beats = 1
    with pytest.raises(dg.Failure, match="Spark has not answered"):
        world.execute()
    world.failures, world.released = 5, False
    world.execute()
    assert world.sound


@pytest.mark.parametrize(
    ("failures", "narrows", "seconds"), [(0, False, 210), (1, False, 420), (5, False, 6720), (50, False, 6720), (3, True, 1800)]
)  # fmt: skip
def test_the_limit_of_a_start_grows_and_has_an_end(failures: int, narrows: bool, seconds: float) -> None:
    assert start.start_limit(failures, narrows) == seconds


def test_a_batch_that_is_only_slow_gets_more_time_after_each_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settings = world.settings.model_copy(update={"stall_seconds": 0.05, "ingest_interval_seconds": 0})
    world.waiting, world.failures = 7, 3
    monkeypatch.setattr(run, "stalled", lambda _spec, _settings, seconds, _waiting: SparkGone(f"after {seconds}"))
    with pytest.raises(dg.Failure) as failure:
        world.execute()
    assert float(str(failure.value.description).split()[-1]) > 8 * 0.05
