"""Streams start one after the other: at once they would make each other miss Spark's limits."""

import threading
import time

from shop_streams.streaming.priority import turn_to_start
from shop_streams_tests.harness import Stack, wait_for


def test_one_starts_at_a_time_and_one_that_hangs_holds_up_nobody_for_ever(stack: Stack) -> None:
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
