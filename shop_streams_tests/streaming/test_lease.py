"""The lease on the real database: one holder at a time, and an old epoch is told so."""

import uuid

import psycopg2
import pytest

from shop_streams.beats import ProcessBeats
from shop_streams.streaming.lease import HeldLease, LeaseHeld, Leases, Superseded
from shop_streams.streaming.rest import RestRequest
from shop_streams_tests.harness import Stack, wait_for


@pytest.fixture
def leases(stack: Stack) -> Leases:
    return Leases(stack.settings.postgres)


def age(stack: Stack, stream: str, seconds: float) -> None:
    with psycopg2.connect(stack.settings.postgres) as connection, connection.cursor() as cursor:
        cursor.execute(
            "update stream_leases set beat_at = beat_at - make_interval(secs => %s) where stream = %s",
            (seconds, stream),
        )


def test_a_second_holder_is_refused_and_told_who_holds_it(leases: Leases) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    assert leases.acquire(stream, "first", 11, "here", 60) == 1
    with pytest.raises(LeaseHeld, match=r"held by run first \(pid 11 on here, epoch 1\)"):
        leases.acquire(stream, "second", 12, "here", 60)


def test_a_stale_lease_goes_to_the_next_and_the_zombie_finds_out(leases: Leases, stack: Stack) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    old = leases.acquire(stream, "first", 1, "here", 60)
    age(stack, stream, 61)
    assert leases.acquire(stream, "second", 2, "here", 60) == old + 1
    with pytest.raises(Superseded):
        HeldLease(leases, stream, old).beat(0, {})
    leases.release(stream, old)  # a zombie's release must not free the newer holder's lease
    assert leases.read()[stream].fresh(60)


def test_a_released_lease_is_free_at_once(leases: Leases) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    leases.release(stream, leases.acquire(stream, "first", 1, "here", 60))
    assert leases.acquire(stream, "second", 2, "here", 60) == 2


def test_a_resting_stream_has_no_backoff_and_a_failing_one_has(leases: Leases) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    said: list[str] = []
    with leases.hold(stream, "first", 60, said.append):
        leases.record_failures(stream, 3)
    assert leases.read()[stream].released and leases.read()[stream].failures == 0
    with pytest.raises(ZeroDivisionError), leases.hold(stream, "second", 60, said.append):
        leases.record_failures(stream, 3)
        raise ZeroDivisionError
    assert leases.read()[stream].released and leases.read()[stream].failures == 3


def test_only_a_stale_lease_can_be_revoked(leases: Leases, stack: Stack) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    epoch = leases.acquire(stream, "first", 1, "here", 60)
    assert not leases.revoke(stream, epoch, 60)
    age(stack, stream, 61)
    assert leases.revoke(stream, epoch, 60)
    with pytest.raises(Superseded):
        HeldLease(leases, stream, epoch).beat(0, {})


def test_a_held_lease_is_given_back_however_the_block_ends_and_beats_meanwhile(leases: Leases, stack: Stack) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    with pytest.raises(RuntimeError), leases.hold(stream, "run", 60, print) as lease:
        lease.beat(7, {"batch_id": 3})
        age(stack, stream, 50)
        with lease.beating(every=0.05, at_most=10):
            wait_for("a beat from the thread", lambda: leases.read()[stream].beat_age < 50, 10)
        assert leases.read()[stream].lag == 7  # the thread leaves the numbers as they were
        raise RuntimeError
    assert leases.read()[stream].released


def test_the_last_progress_and_the_last_problem_stay_until_a_run_has_better_ones(leases: Leases) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    with leases.hold(stream, "first", 60, print) as lease:
        lease.beat(7, {"batch_id": 3})
        leases.record_problem(stream, "first", "it failed")
    with leases.hold(stream, "second", 60, print) as lease:
        lease.beat(None, None)
        now = leases.read()[stream]
        assert (now.progress, now.problem, now.lag) == ({"batch_id": 3}, "it failed", None)
        lease.beat(7, {"batch_id": 4})
        assert leases.read()[stream].problem == "it failed"
        lease.beat(0, {"batch_id": 5}, sound=True)
        now = leases.read()[stream]
        assert (now.progress, now.problem) == ({"batch_id": 5}, None)


def test_a_request_to_rest_is_one_stacks_own(stack: Stack) -> None:
    ours, others = (RestRequest(stack.settings.postgres, f"{name}:{uuid.uuid4()}") for name in ("ours", "others"))
    ours.make()
    ours.make()
    assert ours.made() and not others.made()
    ours.clear()
    assert not ours.made()


def test_a_process_that_beats_no_more_is_silent(stack: Stack) -> None:
    beats, process = ProcessBeats(stack.settings.postgres), f"host:{uuid.uuid4()}"
    assert beats.silent_for(process) is None
    beats.beat_until_the_end(process, every=0.05)
    wait_for("a beat", lambda: beats.silent_for(process) is not None, 10)
    with psycopg2.connect(stack.settings.postgres) as connection, connection.cursor() as cursor:
        cursor.execute("update process_beats set beat_at = beat_at - interval '1 day' where process = %s", (process,))
    wait_for("another beat", lambda: (beats.silent_for(process) or 0) < 5, 10)
    with psycopg2.connect(stack.settings.postgres) as connection, connection.cursor() as cursor:
        gone = f"host:{uuid.uuid4()}"
        cursor.execute("insert into process_beats values (%s, clock_timestamp() - interval '1 day')", (gone,))
        cursor.execute("select extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8")
        (up_for,) = cursor.fetchone()  # type: ignore[misc]
    assert up_for <= (beats.silent_for(gone) or 0) < up_for + 60  # the time before the database was up does not count
