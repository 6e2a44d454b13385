"""`down` and `up` of a stack at work: no run of a stream is a failure afterwards, and none is left unfinished."""

import time
from collections.abc import Callable
from typing import Any

from dagster_graphql import DagsterGraphQLClient
from rich.console import Console

from shop_streams.cli.status import STREAMS
from shop_streams.defs.platform.accounting import topic_hours
from shop_streams.local import stack as local_stack
from shop_streams.local.supervision import processes_of
from shop_streams_tests.harness import Stack, wait_for

RUNS = "{ runsOrError(limit: 1000) { ... on Runs { results { runId jobName status } } } }"


def runs(stack: Stack) -> dict[str, tuple[str, str]]:
    """Each run's job and status."""
    found: list[dict[str, Any]] = stack.graphql(RUNS)["runsOrError"]["results"]
    return {run["runId"]: (run["jobName"], run["status"]) for run in found}


def restart(stack: Stack, between: Callable[[], None] = lambda: None) -> list[str]:
    """Stop the stack, do something with its folders, and start it. Returns what the stop said."""
    said: list[str] = []
    try:
        assert local_stack.down(stack.settings, said.append)
        assert not processes_of(stack.settings)
        between()
    finally:
        local_stack.up(stack.settings, Console(stderr=True))
    return said


def restart_cleanly(
    stack: Stack, before: Callable[[], None] = lambda: None, between: Callable[[], None] = lambda: None
) -> None:
    """Stop the stack while its streams run and another run begins, and start it; `before` the stop and `between` them, do something."""
    for name in STREAMS:
        stack.wait_running(name)
    client = DagsterGraphQLClient("127.0.0.1", port_number=stack.settings.dagster_port)
    hour = topic_hours.get_partition_key_for_timestamp(time.time() - 3600)
    loading = client.submit_job_execution("account_topics", tags={"dagster/partition": hour})
    wait_for("a run whose process loads", lambda: runs(stack)[loading][1] in ("STARTING", "STARTED", "SUCCESS"))
    unfinished = {run for run, (_, status) in runs(stack).items() if status not in ("SUCCESS", "FAILURE", "CANCELED")}
    held = {stack.stream(name)["run_id"] for name in STREAMS}
    assert held <= unfinished
    before()
    said = restart(stack, between)
    assert f"{len(STREAMS)} of {len(STREAMS)} streams stopped, none of them in the middle of a batch" in said
    after = runs(stack)
    assert {after[run][1] for run in held} == {"SUCCESS"}
    others = {run: after[run] for run in unfinished if after[run][1] not in ("SUCCESS", "CANCELED")}
    assert not others, stack.why_failed(*others)
