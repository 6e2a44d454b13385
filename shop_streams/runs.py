"""Dagster's runs: which have not ended, whether their process still lives, and how long to wait after failures in a row."""

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
END_GRACE_SECONDS = 60.0  # a run that finds out by itself stops its query and says why

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
    """When a run was made, in seconds since 1970: by its first event, whose time is a number.

    The record's own time is a naive column, which shifts where a session's zone is not UTC: only for a run without events.
    """
    first = instance.get_records_for_run(record.dagster_run.run_id, limit=1).records
    return first[0].event_log_entry.timestamp if first else record.create_timestamp.timestamp()


def mark_failed(instance: dg.DagsterInstance, run_id: str, why: str) -> None:
    """Tell Dagster that a run has failed whose process can't say so any more."""
    run = instance.get_run_by_id(run_id)
    if run is not None:
        instance.report_run_failed(run, why)


def this_process() -> str:
    """This process, told apart from a later one with the same id: host, pid, and when it began."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def end_later(host: str, pid: int, there_at: float, seconds: float = END_GRACE_SECONDS) -> None:
    """`end_process` when it has had `seconds` to end by itself; returns at once."""
    timer = threading.Timer(seconds, end_process, (host, pid, there_at))
    timer.daemon = True
    timer.start()


def end_process(host: str, pid: int, there_at: float) -> bool:
    """Kill the process of this host that had this id at `there_at` (seconds since 1970); whether there was one.

    What runs on another host, or began later and only has the same id, is left alone.
    """
    if host != socket.gethostname():
        return False
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.create_time() < there_at and process.status() != psutil.STATUS_ZOMBIE:
            process.kill()  # a stopped one or one that hangs would not hear of anything else
            return True
    return False


def is_gone(process: str, silent_for: Callable[[str], float | None]) -> bool:
    """Whether a process has ended; one of another host is dead when it has been silent for too long.

    One that has never beaten is left to Dagster's run monitoring.
    """
    host, pid, began = process.rsplit(":", 2)
    if host != socket.gethostname():
        return (silent_for(process) or 0.0) > DEAD_AFTER_SECONDS
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" != began
    except psutil.NoSuchProcess:
        return True
