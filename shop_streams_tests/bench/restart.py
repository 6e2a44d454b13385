"""Spark is killed with -9 under traffic: the seconds until every stream runs and takes in what is sent after the kill."""

import itertools
import statistics
import time

from shop_streams.settings import Settings
from shop_streams.status import STREAMS
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
    times = []
    with Traffic(stack, 1) as traffic:
        traffic.subscribe(("canary", traffic.canary))
        recovered(stack, traffic, next(canaries))
        for number in range(rounds):
            time.sleep(CALM_SECONDS)
            since = inflict(Fault("kill", "spark", CALM_SECONDS), stack, traffic).since
            recovered(stack, traffic, next(canaries))
            times.append(time.monotonic() - since)
            console.print(f"  restart round {number}: {times[-1]:.1f} s", highlight=False)
    return [
        f"kill of Spark, all {len(STREAMS)} streams back",
        f"{statistics.median(times):.0f} s, longest {max(times):.0f} s", "", "", "60 s",
    ]  # fmt: skip
