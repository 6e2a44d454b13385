"""The lease on the real database: one holder at a time, and an old epoch is told so."""

import uuid

import psycopg2
import pytest

from shop_streams.streaming.lease import LeaseHeld, Leases, Superseded
from shop_streams_tests.harness import Stack


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
        leases.beat(stream, old, 0, {})
    leases.release(stream, old)  # a zombie's release must not free the newer holder's lease
    assert leases.read()[stream].fresh(60)


def test_a_released_lease_is_free_at_once(leases: Leases) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    leases.release(stream, leases.acquire(stream, "first", 1, "here", 60))
    assert leases.acquire(stream, "second", 2, "here", 60) == 2


def test_only_a_stale_lease_can_be_revoked(leases: Leases, stack: Stack) -> None:
    stream = f"test_{uuid.uuid4().hex}"
    epoch = leases.acquire(stream, "first", 1, "here", 60)
    assert not leases.revoke(stream, epoch, 60)
    age(stack, stream, 61)
    assert leases.revoke(stream, epoch, 60)
    with pytest.raises(Superseded):
        leases.beat(stream, epoch, 0, {})
