"""The keep-alive sensor's decision table: a stream is started when, and only when, nobody keeps it alive."""

import pytest

from shop_streams.streaming.keep_alive import Memory, Run, backoff_seconds, decide, stream_state
from shop_streams.streaming.lease import Lease

TTL = 20.0


def lease(beat_age: float, released: bool = False, lag: int | None = None, failures: int = 0) -> Lease:
    return Lease("s", "run-a", 1, "host", 7, lag, {}, failures, released, beat_age, 60.0)


def failed(run_id: str, ended: float) -> Run:
    return Run(run_id, "FAILURE", ended + 5, ended)


CASES = {
    "never run": (None, [], None, Memory(), True, (), "never run"),
    "fresh lease": (lease(1), [Run("run-a", "STARTED", 60)], None, Memory(), False, (), "beat 1.0 s ago"),
    "fresh lease of a run that somebody marked as failed": (lease(1), [], failed("run-a", 5), Memory(), False, (), "alive"),
    "given back after Terminate": (lease(3, released=True), [], Run("run-a", "CANCELED", 9, 3), Memory(), True, (), "gave back"),
    "stale, its run still STARTED": (lease(25), [Run("run-a", "STARTED", 90)], None, Memory(), True, ("run-a",), "stale"),
    "stale, a new run on its way": (lease(25), [Run("run-b", "STARTING", 4)], None, Memory(), False, (), "STARTING since 4 s"),
    "a run that never took a lease": (None, [Run("run-b", "STARTED", 80)], None, Memory(), True, ("run-b",), ""),
    "first failure: at once": (lease(5, released=True), [], failed("run-a", 1), Memory(), True, (), ""),
    "second failure in a row: wait": (
        lease(5, released=True), [], failed("run-b", 1), Memory(1, "run-a"), False, (), "backing off: 2 failures in a row, 9 of 10 s",
    ),
    "second failure, waited": (lease(5, released=True), [], failed("run-b", 11), Memory(2, "run-b"), True, (), ""),
    "fifth failure, 79 s ago of 80 s": (lease(5, released=True), [], failed("run-e", 79), Memory(5, "run-e"), False, (), "1 of 80 s"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_decision(case: str) -> None:
    held, unfinished, finished, memory, start, dead, words = CASES[case]
    decision = decide(held, unfinished, finished, memory, TTL)
    assert (decision.start, decision.dead_runs) == (start, dead)
    assert words in decision.why


def test_the_same_failed_run_counts_once() -> None:
    first = decide(lease(5, True), [], failed("run-a", 1), Memory(), TTL).memory
    again = decide(lease(5, True), [], failed("run-a", 2), first, TTL).memory
    assert (first.failures, again.failures) == (1, 1)


def test_a_finished_batch_ends_a_series_of_failures() -> None:
    assert decide(lease(1), [], None, Memory(4, "x"), TTL).memory.failures == 4
    assert decide(lease(1, lag=0), [], None, Memory(4, "x"), TTL).memory.failures == 0
    killed_after_work = decide(lease(25, lag=0), [Run("run-a", "STARTED", 90)], None, Memory(4, "x"), TTL)
    assert (killed_after_work.start, killed_after_work.memory.failures) == (True, 1)


def test_every_request_has_a_new_run_key() -> None:
    memory = Memory()
    numbers = []
    for _ in range(3):
        memory = decide(None, [], None, memory, TTL).memory
        numbers.append(memory.requests)
    assert numbers == [1, 2, 3]


def test_backoff_doubles_up_to_five_minutes() -> None:
    assert [backoff_seconds(n) for n in (0, 1, 2, 3, 4, 7, 50)] == [0, 0, 10, 20, 40, 300, 300]


def test_state_for_status() -> None:
    assert stream_state(None, TTL) == "resting"
    assert stream_state(lease(1), TTL) == "running"
    assert stream_state(lease(30), TTL) == "stale"
    assert stream_state(lease(30, released=True), TTL) == "resting"
    assert stream_state(lease(30, released=True, failures=3), TTL) == "backing_off"
