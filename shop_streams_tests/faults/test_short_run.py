"""A few of the faults in one run. The suite has each fault alone in streaming/test_faults.py, `make faults` all of them."""

from itertools import pairwise

import pytest

from shop_streams.cli.status import STREAMS
from shop_streams_tests.faults.plan import Fault, chosen, faults
from shop_streams_tests.faults.run import run_faults
from shop_streams_tests.harness import Stack

PLAN = [
    Fault("abort", "shop_events", 1),
    Fault("silence", "collector", 1),
    Fault("kill", "spark", 3),
]


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_nothing_is_lost_and_nothing_counts_twice(stack: Stack) -> None:
    report = run_faults(stack, 1, PLAN, print, lambda: True)
    assert [str(fault) for fault, _ in report.recoveries] == [str(fault) for fault in PLAN]
    assert report.tracked > 100 and report.sales > 100 and report.broken > 0 and report.clicks > 50
    assert report.differences == []


def test_a_seed_is_a_plan_and_each_round_holds_every_fault() -> None:
    def first(seed: int) -> list[Fault]:
        plan = faults(seed, STREAMS, with_disk=True)
        return [next(plan) for _ in range(36)]

    assert first(1) == first(1) != first(2)
    kinds = [
        sorted((fault.kind, "" if fault.kind.endswith("_run") else fault.target) for fault in first(3)[i:j])
        for i, j in pairwise([0, 18, 36])
    ]
    assert kinds[0] == kinds[1] and len(set(kinds[0])) == 18


def test_faults_are_chosen_by_kind_or_by_kind_and_target() -> None:
    plan = [Fault("kill", "spark", 1), Fault("kill", "kafka", 1), Fault("hang", "kafka", 1)]
    assert list(chosen(plan, None)) == plan
    assert list(chosen(plan, ["hang", "kill spark"])) == [plan[0], plan[2]]
