"""Streams start one after the other, since at once they would make each other miss Spark's limits; others wait for them."""

import threading
import time
from typing import Any

from shop_streams.streaming.lease import Lease
from shop_streams.streaming.priority import streams_first, turn_to_start
from shop_streams_tests.harness import Stack, wait_for


def test_streams_start_one_at_a_time_and_wait_a_limited_time_for_one_that_hangs(stack: Stack) -> None:
    dsn, server = stack.settings.postgres, "a server of this test"
    order: list[str] = []

    def start(name: str, seconds: float) -> None:
        with turn_to_start(dsn, server, seconds):
            order.append(name)

    with turn_to_start(dsn, server):
        patient = threading.Thread(target=start, args=("patient", 60))
        patient.start()
        with turn_to_start(dsn, "another server", 30):  # it has its own turns
            order.append("elsewhere")
        began = time.monotonic()
        start("impatient", 1)
        assert 0.9 < time.monotonic() - began < 30
        order.append("first ends")
    wait_for("the one that waited", lambda: not patient.is_alive(), 30)
    assert order == ["elsewhere", "impatient", "first ends", "patient"]


def lease(name: str, **more: Any) -> Lease:
    known: dict[str, Any] = {"lag": 0, "released": False, "beat_age": 1.0, "failures": 0} | more
    return Lease(name, "run", 1, "host", 1, progress={}, held_for=9.0, **known)


DEFINED = {"keep_a_alive", "keep_b_alive"}


def test_streams_that_are_starting_come_first() -> None:
    wait = "waiting: stream b has no fresh lease, or cannot reach Kafka"
    failed = {"released": True, "lag": None, "beat_age": 2.0}
    assert streams_first({}, DEFINED, set(), 15) is None
    assert streams_first({"a": lease("a")}, DEFINED, set(), 15) is None
    assert streams_first({"a": lease("a"), "b": lease("b", lag=None)}, DEFINED, set(), 15) == wait
    assert streams_first({"a": lease("a"), "b": lease("b", beat_age=20.0)}, DEFINED, set(), 15) == wait
    assert streams_first({"a": lease("a"), "b": lease("b", **failed)}, DEFINED, set(), 15) == wait
    assert streams_first({"a": lease("a"), "b": lease("b", **failed)}, DEFINED, {"keep_b_alive"}, 15) is None
    assert streams_first({"a": lease("a"), "b": lease("b", **failed, failures=2)}, DEFINED, set(), 15) is None


def test_streams_that_this_code_does_not_define_are_not_waited_for() -> None:
    renamed = {"a": lease("a"), "of_last_year": lease("of_last_year", released=True, lag=None)}
    assert streams_first(renamed, DEFINED, set(), 15) is None
