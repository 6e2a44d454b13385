"""Spark is killed with -9 under traffic: the seconds until every stream runs, and until what was sent since is in every output."""

import itertools
import statistics
import time

from shop_streams.cli.status import STREAMS
from shop_streams.settings import Settings
from shop_streams_tests.bench.traffic import console
from shop_streams_tests.faults.inflict import inflict
from shop_streams_tests.faults.plan import Fault
from shop_streams_tests.faults.run import recovered
from shop_streams_tests.faults.traffic import Traffic
from shop_streams_tests.harness import Stack

CALM_SECONDS = 20


def bench_restart(settings: Settings, rounds: int) -> list[str]:
    stack = Stack(settings)
    for name in STREAMS:
        stack.wait_running(name)
    canaries = itertools.count()
    running, times = [], []
    with Traffic(stack, 1) as traffic:
        traffic.subscribe(("canary", traffic.canary))
        recovered(stack, traffic, next(canaries))
        for number in range(rounds):
            time.sleep(CALM_SECONDS)
            before = {name: stack.stream(name)["epoch"] for name in STREAMS}
            since = inflict(Fault("kill", "spark", CALM_SECONDS), stack, traffic).since
            for name, epoch in before.items():
                stack.wait_running(name, epoch)
            running.append(time.monotonic() - since)
            recovered(stack, traffic, next(canaries))
            times.append(time.monotonic() - since)
            console.print(
                f"  restart round {number}: run {running[-1]:.1f} s, caught up {times[-1]:.1f} s", highlight=False
            )
    return [
        f"kill of Spark under traffic: all {len(STREAMS)} streams run; and have caught up",
        f"{statistics.median(running):.0f} s (longest {max(running):.0f}); {statistics.median(times):.0f} s "
        f"(longest {max(times):.0f})", "", "", "60 s",
    ]  # fmt: skip
