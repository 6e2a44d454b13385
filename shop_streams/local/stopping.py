"""Stops a home's runs: asks the streams to rest, cancels other runs, and waits for all of them.

An unavailable PostgreSQL or Dagster is no error here: each wait has a limit, and a message says what happened.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
import psutil

from shop_streams.environment import process_environment
from shop_streams.local.supervision import processes_of
from shop_streams.runs import UNFINISHED
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Lease, Leases
from shop_streams.streaming.patience import DATABASE_ERRORS, wait_until_it_answers
from shop_streams.streaming.rest import RestRequest
from shop_streams.streaming.spec import STREAM_TAG

ASK_SECONDS = 5.0  # a PostgreSQL that is just being restarted is back by then
REST_SECONDS = 60.0  # for a batch boundary, the sidecar, and the last report to Dagster
CANCEL_SECONDS = 20.0
FINISH_SECONDS = 5.0
POLL_SECONDS = 0.25
CANCELED = "canceled: its stack was stopped, and the run did not end in time"
LEFT_OVER = "canceled: its process ended with the stack that it belonged to"


def stop_runs(settings: Settings, say: Callable[[str], None]) -> None:
    """Let the streams rest and cancel all other runs; returns when they have ended, or at the limits."""
    request = RestRequest.of(settings)
    if not wait_until_it_answers(request.make, ASK_SECONDS):
        say(
            "PostgreSQL does not answer, so the streams can't be asked to rest: their runs are ended with the services."
        )
        return
    try:
        rest_streams(settings, say)
        with instance_of(settings) as instance:
            end_runs(instance, settings, say)
    except DATABASE_ERRORS as error:
        say(f"PostgreSQL went away, and the runs are ended with the services: {error}")


def rest_streams(settings: Settings, say: Callable[[str], None], seconds: float = REST_SECONDS) -> None:
    """Wait until each stream of this home has released its lease, and then until its process has ended."""
    leases = Leases(settings.postgres)
    processes = {process.pid: process for process in processes_of(settings)}
    mine = {
        name: lease
        for name, lease in leases.read().items()
        if lease.fresh(settings.lease_seconds) and is_held_here(lease, processes)
    }
    deadline = time.monotonic() + seconds
    while True:
        now = leases.read()
        held = {
            name: now[name] for name, lease in mine.items() if now[name].epoch == lease.epoch and not now[name].released
        }
        alive = [name for name, lease in held.items() if lease.fresh(settings.lease_seconds)]
        if not alive or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    if mine:
        say(f"{len(mine) - len(held)} of {len(mine)} streams stopped, none of them in the middle of a batch")
    if held:
        say(
            f"No answer from {', '.join(held)} (died, or hung for {seconds:.0f} s): canceled; "
            "the next start continues from the last batch."
        )
    ending = [processes[lease.pid] for name, lease in mine.items() if name not in held and lease.pid in processes]
    psutil.wait_procs(ending, CANCEL_SECONDS)


def is_held_here(lease: Lease, processes: Container[int]) -> bool:
    """Whether one of this home's `processes` (pids) holds the lease: other homes may share the database."""
    return lease.host == socket.gethostname() and lease.pid in processes


@contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of this home."""
    os.environ.update(process_environment(settings))  # dagster.yaml reads the database's address from there
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield instance


def end_runs(instance: dg.DagsterInstance, settings: Settings, say: Callable[[str], None]) -> None:
    """Wait for runs that are about to end, cancel the others, and leave none unfinished."""
    wait_for_runs(instance, settings, CANCEL_SECONDS, resting)
    wait_for_runs(instance, settings, CANCEL_SECONDS, loading)
    # Most runs take seconds. Dagster marks one as failed that is asked to end in the moment at which it succeeds.
    to_cancel = wait_for_runs(instance, settings, FINISH_SECONDS)
    for run in to_cancel:
        try:
            instance.run_coordinator.cancel_run(run.run_id)  # as Terminate in the UI does
        except DATABASE_ERRORS:
            raise
        except Exception as error:  # the code server, which asks the process, may be gone: the run is only marked then
            say(f"run {run.run_id[:8]} of {run.job_name} could not be asked to end: {error}")
    left = wait_for_runs(instance, settings, CANCEL_SECONDS)
    for run in left:
        instance.report_run_canceled(run, CANCELED)
    if to_cancel:
        say(f"{len(to_cancel)} more runs canceled" + (f", {len(left)} of them without an answer" if left else ""))


def resting(run: dg.DagsterRun) -> bool:
    """Whether the run ends by itself, because it is a stream's that was asked to rest."""
    return STREAM_TAG in run.tags and run.status != dg.DagsterRunStatus.QUEUED


def loading(run: dg.DagsterRun) -> bool:
    """Whether the run's process is still starting: a request to cancel would kill it, and the run would fail."""
    return run.status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)


def wait_for_runs(
    instance: dg.DagsterInstance,
    settings: Settings,
    seconds: float,
    these: Callable[[dg.DagsterRun], bool] = lambda _run: True,
) -> list[dg.DagsterRun]:
    """Wait for the runs that `these` selects; returns those that have not ended within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        runs = [run for run in unfinished(instance, settings) if these(run)]
        if not runs or time.monotonic() > deadline:
            return runs
        time.sleep(POLL_SECONDS)


def unfinished(instance: dg.DagsterInstance, settings: Settings) -> Sequence[dg.DagsterRun]:
    """Runs of this home that have not ended. None if the database is external: other homes may share it.

    Runs in the queue stay there for the next start, except a stream's: its sensor requests a new one.
    """
    if not settings.embedded["postgres"]:
        return []
    return [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        if run.status != dg.DagsterRunStatus.QUEUED or STREAM_TAG in run.tags
    ]


def cancel_left_over_runs(settings: Settings) -> None:
    """Cancel unfinished runs at a start: no process of this home runs yet, so they never end by themselves."""
    with instance_of(settings) as instance:
        for run in unfinished(instance, settings):
            instance.report_run_canceled(run, LEFT_OVER)


@contextmanager
def not_interrupted(say: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM don't end the block: it would leave a half stopped stack, and each of its waits has a limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: say("The stack is stopping already; each wait has a limit."))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
