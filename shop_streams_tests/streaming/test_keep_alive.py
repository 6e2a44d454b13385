"""The keep-alive sensor's decision table: a stream is started when, and only when, nobody keeps it alive."""

import time
from dataclasses import replace
from types import SimpleNamespace

import dagster as dg
import pytest

from shop_streams.defs.sales.streams import INGEST
from shop_streams.runs import backoff_seconds
from shop_streams.settings import Settings
from shop_streams.streaming import keep_alive
from shop_streams.streaming.condition import condition
from shop_streams.streaming.factory import build_job
from shop_streams.streaming.keep_alive import CursorState, Run, decide, stream_state
from shop_streams.streaming.lease import Lease

TTL = 20.0


def lease(
    beat_age: float, released: bool = False, lag: int | None = None, failures: int = 0, ran_for: float = 60.0
) -> Lease:
    return Lease("s", "run-a", 1, "host", 7, lag, {}, failures, released, beat_age, ran_for + beat_age)


def failed(run_id: str, ended: float) -> Run:
    return Run(run_id, "FAILURE", ended + 5, ended)


CASES = {
    "never run": (None, [], None, CursorState(), True, (), "never run"),
    "fresh lease": (lease(1), [Run("run-a", "STARTED", 60)], None, CursorState(), False, (), "beat 1.0 s ago"),
    "fresh lease of a run that somebody marked as failed": (lease(1), [], failed("run-a", 5), CursorState(), False, (), "alive"),
    "given back after Terminate": (lease(3, released=True), [], Run("run-a", "CANCELED", 9, 3), CursorState(), True, (), "released epoch"),
    "given back, its run stores its last reports": (
        lease(3, released=True, ran_for=86_400), [Run("run-a", "STARTED", 86_403)], None, CursorState(), False, (), "ending: run run-a",
    ),
    "given back long ago, its run still STARTED": (
        lease(76, released=True), [Run("run-a", "STARTED", 136)], None, CursorState(), True, ("run-a",), "released epoch",
    ),
    "stale, its run still STARTED": (lease(25), [Run("run-a", "STARTED", 90)], None, CursorState(), True, ("run-a",), "stale"),
    "stale, a new run on its way": (lease(25), [Run("run-b", "STARTING", 4)], None, CursorState(), False, (), "STARTING since 4 s"),
    "a run that never took a lease": (None, [Run("run-b", "STARTED", 80)], None, CursorState(), True, ("run-b",), ""),
    "first failure: at once": (lease(5, released=True), [], failed("run-a", 1), CursorState(), True, (), ""),
    "second failure in a row: wait": (
        lease(5, released=True), [], failed("run-b", 1), CursorState(1, "run-a"), False, (), "backing off: 2 failures in a row, 9 of 10 s",
    ),
    "second failure, waited": (lease(16, released=True), [], failed("run-b", 11), CursorState(2, "run-b"), True, (), ""),
    "fifth failure, 79 s ago of 80 s": (lease(84, released=True), [], failed("run-e", 79), CursorState(5, "run-e"), False, (), "1 of 80 s"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_sensors_decision(case: str) -> None:
    held, unfinished, finished, state, start, dead, words = CASES[case]
    decision = decide(held, unfinished, finished, state, TTL)
    assert (decision.start, decision.dead_runs) == (start, dead)
    assert words in decision.why


def test_the_same_failed_run_counts_once() -> None:
    first = decide(lease(5, True), [], failed("run-a", 1), CursorState(), TTL).state
    again = decide(lease(5, True), [], failed("run-a", 2), first, TTL).state
    assert (first.failures, again.failures) == (1, 1)


ENDS: dict[str, tuple[Lease, Run, int]] = {
    "recovered after its last failure": (lease(3, released=True), failed("run-h", 40), 0),
    "recovered, and failed again before it had the lease": (lease(40, released=True), failed("run-h", 3), 9),
    "stopped by a person": (lease(3, released=True), Run("run-a", "CANCELED", 20, 3), 0),
    "ended by RUN_HOURS": (lease(3, released=True), Run("run-a", "SUCCESS", 20, 3), 0),
    "failed again": (lease(3, released=True), failed("run-a", 3), 9),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_series_of_failures_ends_with_a_recovery_or_a_run_that_did_not_fail(case: str) -> None:
    held, finished, failures = ENDS[case]
    decision = decide(held, [], finished, CursorState(8, "run-before"), TTL)
    assert (decision.state.failures, decision.start) == (failures, failures == 0)
    again = decide(held, [], finished, decision.state, TTL)
    assert again.state.failures == failures
    says = condition(replace(held, failures=failures), TTL, on=True, unread=None).says
    assert says.startswith("between two runs" if failures == 0 else "failed 9 times"), says


# failures in a row; the stream's interval; how long the run has lasted; lag, None before its first batch; failures then
SERIES: dict[str, tuple[int, float, float, int | None, int]] = {
    "a minute and a batch end a short series": (1, 5, 60, 0, 0),
    "a batch soon after the start ends nothing": (4, 5, 9, 0, 4),
    "nor does a minute without a batch": (4, 5, 60, None, 4),
    "a stream with a batch a minute may fail at its second": (1, 60, 70, 0, 1),
    "so it has to last for two": (1, 60, 120, 0, 0),
    "it lasts less than it would wait next": (5, 5, 159, 0, 5),
    "it lasts as long": (5, 5, 160, 0, 0),
    "five minutes end any series": (40, 60, 300, 12, 0),
}


@pytest.mark.parametrize("case", SERIES)
@pytest.mark.parametrize("beat_age", [1.0, 500.0])  # the time since its end does not make a run last longer
def test_a_series_of_failures_is_over_once_a_run_was_sound(case: str, beat_age: float) -> None:
    failures, interval, ran_for, lag, then = SERIES[case]
    held = lease(beat_age, released=beat_age > TTL, lag=lag, ran_for=ran_for)
    decision = decide(held, [], failed("x", beat_age), CursorState(failures, "x"), TTL, interval)
    assert decision.state.failures == then


def test_a_stream_that_fails_at_its_second_batch_again_and_again_waits_longer_each_time() -> None:
    state, waited = CursorState(), []
    for number in range(7):
        held = lease(1, released=True, lag=0, ran_for=65)
        state = decide(held, [], failed(f"run-{number}", 0), state, TTL, interval=60).state
        waited.append(backoff_seconds(state.failures))
    assert waited == [0, 10, 20, 40, 80, 160, 300]


def test_every_request_has_a_new_run_key() -> None:
    state = CursorState()
    numbers = []
    for _ in range(3):
        state = decide(None, [], None, state, TTL).state
        numbers.append(state.requests)
    assert numbers == [1, 2, 3]


def test_backoff_doubles_up_to_five_minutes() -> None:
    assert [backoff_seconds(n) for n in (0, 1, 2, 3, 4, 7, 50)] == [0, 0, 10, 20, 40, 300, 300]


def test_state_for_status() -> None:
    assert stream_state(None, TTL) == "resting"
    assert stream_state(lease(1), TTL) == "running"
    assert stream_state(lease(30), TTL) == "stale"
    assert stream_state(lease(30, released=True), TTL) == "resting"
    assert stream_state(lease(30, released=True, failures=1), TTL) == "backing_off"  # Spark may be away just now
    assert stream_state(lease(30, released=True, failures=3), TTL) == "backing_off"
    assert stream_state(lease(600, released=True, failures=3), TTL) == "resting"  # the sensor is off


@pytest.mark.parametrize("beats_again", [False, True])
def test_the_process_behind_a_stale_lease_is_ended(monkeypatch: pytest.MonkeyPatch, beats_again: bool) -> None:
    stale, ended = lease(500, ran_for=60), list[tuple[str, int, float]]()
    leases = SimpleNamespace(
        read=lambda: {INGEST.name: stale}, revoke=lambda *_: not beats_again, record_failures=lambda *_: None
    )
    monkeypatch.setattr(keep_alive, "Leases", lambda _dsn: leases)
    monkeypatch.setattr(keep_alive, "RestRequest", SimpleNamespace(of=lambda _: SimpleNamespace(made=lambda: False)))
    monkeypatch.setattr(keep_alive, "end_later", lambda *process: ended.append(process))
    sensor = keep_alive.build_sensor(INGEST, build_job(INGEST))
    with dg.DagsterInstance.ephemeral() as instance:
        sensor.evaluate_tick(dg.build_sensor_context(instance=instance, resources={"settings": Settings()}))
    assert [(host, pid) for host, pid, _ in ended] == ([] if beats_again else [(stale.host, stale.pid)])
    assert all(abs(time.time() - 560 - there_at) < 10 for _, _, there_at in ended)  # when it took the lease
