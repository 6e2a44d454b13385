"""Dagster's runs: unfinished runs, whether their process is alive, and the backoff after failures in a row."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import dagster as dg
import psutil

from shop_streams.beats import DEAD_AFTER_SECONDS

BACKOFF_BASE_SECONDS = 10.0
BACKOFF_LIMIT_SECONDS = 300.0
START_GRACE_SECONDS = 75.0  # from a run's request to its lease, and from the end of a run's lease to that of the run
END_GRACE_SECONDS = 60.0  # a run that detects the lost lease stops its query and reports why
RUN_WORDS = ("shop_streams", "dagster", "multiprocessing")  # one of them is in the command line of each run's process

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def backoff_seconds(failures: int) -> float:
    """Wait after the n-th failure in a row: none after the first, then 10, 20, 40 … up to 300 s."""
    return 0.0 if failures <= 1 else min(BACKOFF_BASE_SECONDS * 2 ** (failures - 2), BACKOFF_LIMIT_SECONDS)


def created_at(instance: dg.DagsterInstance, record: dg.RunRecord) -> float:
    """When a run was created, epoch seconds, from its first event.

    The record's own time has no zone and shifts if a session is not in UTC, so it is used only for a run without events.
    """
    first = instance.get_records_for_run(record.dagster_run.run_id, limit=1).records
    return first[0].event_log_entry.timestamp if first else record.create_timestamp.timestamp()


def mark_failed(instance: dg.DagsterInstance, run_id: str, why: str) -> None:
    """Report a run as failed whose process can't report it any more."""
    run = instance.get_run_by_id(run_id)
    if run is not None:
        instance.report_run_failed(run, why)


def this_process() -> str:
    """`host:pid:start time`, which differs for a later process with the same pid."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def end_later(host: str, pid: int, there_at: float, seconds: float = END_GRACE_SECONDS) -> None:
    """Call `end_process` after `seconds`, so that the process can end by itself first; returns at once."""
    timer = threading.Timer(seconds, end_process, (host, pid, there_at))
    timer.daemon = True
    timer.start()


def end_process(host: str, pid: int, there_at: float) -> bool:
    """Kill the process of a run that had this pid on this host at `there_at` (epoch seconds); True if there was one.

    A process on another host, a later one with the same pid, and one that is no run stay alive: after a move to a machine
    with the same host name, the pid is that of any program.
    """
    if host != socket.gethostname():
        return False
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        is_run = any(word in " ".join(process.cmdline()) for word in RUN_WORDS)
        if is_run and process.create_time() < there_at and process.status() != psutil.STATUS_ZOMBIE:
            process.kill()  # SIGTERM has no effect on a stopped process
            return True
    return False


def is_gone(process: str, silent_for: Callable[[str], float | None]) -> bool:
    """Whether a process, as `this_process` names it, has ended.

    A process on another host counts as ended after `DEAD_AFTER_SECONDS` without a beat. A process that has never beaten
    is left to Dagster's run monitoring.
    """
    host, pid, began = process.rsplit(":", 2)
    if host != socket.gethostname():
        return (silent_for(process) or 0.0) > DEAD_AFTER_SECONDS
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" != began
    except psutil.NoSuchProcess:
        return True
