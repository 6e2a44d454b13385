"""How each fault is done."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from shop_streams.local.supervision import connect
from shop_streams_tests.faults.plan import Fault
from shop_streams_tests.harness import Stack, wait_for

DISK_FULL_SECONDS = 10.0
AWAY_SECONDS = 120.0


@dataclass(frozen=True)
class Aftermath:
    """`over()`: whether what was hit has a successor; `clean_up()` comes after that: waking the paused one.

    `since` is the moment from which a recovery counts.
    """

    over: Callable[[], bool] = lambda: True
    clean_up: Callable[[], None] = lambda: None
    since: float = field(default_factory=time.monotonic)


def inflict(fault: Fault, stack: Stack) -> Aftermath:
    """Do it."""
    began = time.monotonic()
    if fault.kind == "kill":
        psutil.Process(service_pid(stack, fault.target)).kill()
        return Aftermath(since=began)
    if fault.kind == "fill_disk":
        _fill_disk(stack)
        return Aftermath()
    if fault.kind == "away":
        supervisor = connect(stack.settings)
        supervisor.stopProcess(fault.target)
        time.sleep(AWAY_SECONDS)
        supervisor.startProcess(fault.target, False)
        return Aftermath()
    process = psutil.Process(stream_pid(stack, fault.target))
    epoch = stack.stream(fault.target)["epoch"]

    def succeeded() -> bool:
        return bool(stack.stream(fault.target)["epoch"] > epoch)

    if fault.kind == "kill_run":
        process.kill()
        return Aftermath(succeeded, since=began)

    def wake() -> None:
        process.resume()
        process.wait(60)  # a zombie finds out at its next beat, and ends

    process.suspend()
    return Aftermath(succeeded, wake, since=began)


def service_pid(stack: Stack, name: str) -> int:
    return int(wait_for(f"a pid of {name}", lambda: stack.status()["services"][name]["pid"]))


def stream_pid(stack: Stack, name: str) -> int:
    def running() -> int | None:
        stream = stack.stream(name)
        return stream["pid"] if stream["state"] == "running" and psutil.pid_exists(stream["pid"]) else None

    return int(wait_for(f"{name} to have a process", running))


def _fill_disk(stack: Stack) -> None:
    home = stack.settings.home
    filler = home / "filler"
    try:
        free = shutil.disk_usage(home).free
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free)
    except OSError:  # another writer was faster to the last bytes: full is full
        pass
    time.sleep(DISK_FULL_SECONDS)
    filler.unlink()
