"""How each fault is done."""

import os
import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
from rich.console import Console

from shop_streams.cli.status import STREAMS
from shop_streams.local import stack as local_stack
from shop_streams.local.supervision import connect
from shop_streams.postgres import transaction
from shop_streams_tests.faults.plan import Fault
from shop_streams_tests.faults.traffic import Traffic
from shop_streams_tests.harness import Stack, wait_for

DISK_FULL_SECONDS = 10.0
SILENT_CONNECTIONS = 1500
AWAY_SECONDS = 120.0
HANG_SECONDS = 90.0  # longer than a call to Spark may take, and than STALL_SECONDS of `make faults`
STALLED_SECONDS = 200.0  # until the watchdog has acted
END_SECONDS = 90.0


@dataclass(frozen=True)
class Aftermath:
    """`over()`: whether what was hit has a successor; `clean_up()` comes after that: waking the paused one.

    `since` is the moment from which a recovery counts.
    """

    over: Callable[[], bool] = lambda: True
    clean_up: Callable[[], Any] = lambda: None
    since: float = field(default_factory=time.monotonic)


def inflict(fault: Fault, stack: Stack, traffic: Traffic) -> Aftermath:
    """Do it."""
    began = time.monotonic()
    match fault.kind:
        case "kill":
            psutil.Process(service_pid(stack, fault.target)).kill()
            return Aftermath(since=began)
        case "away":
            supervisor = connect(stack.settings)
            supervisor.stopProcess(fault.target)
            time.sleep(AWAY_SECONDS)
            supervisor.startProcess(fault.target, False)
            return Aftermath()
        case "hang" if fault.target == "worker":
            return _stop_a_worker(stack)
        case "hang":
            return _stop_a_service(stack, fault.target)
        case "fill_disk":
            _fill_disk(stack)
            return Aftermath()
        case "restart":
            _restart(stack)
            return Aftermath(since=began)
        case "silence":
            connections = silent_connections(stack.settings.collector_port)
            return Aftermath(clean_up=partial(close, connections), since=began)
        case "abort":
            traffic.transact()
            return Aftermath(since=began)
        case _:
            return _hit_run(fault, stack, began)


def _stop_a_service(stack: Stack, name: str) -> Aftermath:
    """SIGSTOP: its port is open, and it says nothing. Every stream gives up meanwhile, and leaves no process behind."""
    runs = {stream: psutil.Process(stream_pid(stack, stream)) for stream in STREAMS}
    epochs = {stream: stack.stream(stream)["epoch"] for stream in STREAMS}
    service = psutil.Process(service_pid(stack, name))
    service.suspend()
    try:
        time.sleep(HANG_SECONDS)
    finally:
        service.resume()
    return Aftermath(
        lambda: all(stack.stream(stream)["epoch"] > epoch for stream, epoch in epochs.items()),
        lambda: [process.wait(END_SECONDS) for process in runs.values()],
    )


def _stop_a_worker(stack: Stack) -> Aftermath:
    """SIGSTOP of a Python process that runs a stream's batches for Spark, until that stream has another run."""
    epochs = {stream: stack.stream(stream)["epoch"] for stream in STREAMS}
    spark = psutil.Process(service_pid(stack, "spark"))
    worker = next(one for one in spark.children(recursive=True) if "foreach_batch_worker" in " ".join(one.cmdline()))
    worker.suspend()
    began = time.monotonic()

    def succeeded() -> bool:
        return any(stack.stream(stream)["epoch"] > epoch for stream, epoch in epochs.items())

    def wake() -> None:
        with suppress(psutil.NoSuchProcess):
            worker.resume()
            worker.wait(END_SECONDS)

    wait_for("a stream to give up", succeeded, STALLED_SECONDS)
    return Aftermath(succeeded, wake, began)


def _hit_run(fault: Fault, stack: Stack, began: float) -> Aftermath:
    """Kill, pause or delete a stream's run; it is over when another run has the stream."""
    process = psutil.Process(stream_pid(stack, fault.target))
    before = stack.stream(fault.target)

    def succeeded() -> bool:
        return bool(stack.stream(fault.target)["epoch"] > before["epoch"])

    def ended() -> None:
        process.wait(60)  # a run that Dagster does not know any more ends, too

    if fault.kind == "kill_run":
        process.kill()
        return Aftermath(succeeded, since=began)
    if fault.kind == "delete_run":
        stack.graphql("mutation($id: String!) { deleteRun(runId: $id) { __typename } }", id=before["run_id"])
        return Aftermath(succeeded, ended, since=began)

    def wake() -> None:
        process.resume()
        process.wait(60)  # a zombie finds out at its next beat, and ends

    on_another_host(stack, fault.target)
    process.suspend()
    return Aftermath(succeeded, wake, since=began)


def on_another_host(stack: Stack, stream: str) -> None:
    """Let the stream's run look like one of another host: the sensor can't end it there."""
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute("update stream_leases set host = 'another host' where stream = %s", (stream,))


def _restart(stack: Stack) -> None:
    """An ordinary stop and start: no run of a stream may look like a failure afterwards."""
    runs = [stack.stream(name)["run_id"] for name in STREAMS]
    local_stack.down(stack.settings)
    local_stack.up(stack.settings, Console(stderr=True))
    status = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    found = {run_id: stack.graphql(status, id=run_id)["runOrError"]["status"] for run_id in runs}
    assert set(found.values()) <= {"SUCCESS", "CANCELED"}, f"an ordinary stop left these runs: {found}"


def silent_connections(port: int) -> list[socket.socket]:
    """Connections from several addresses that say nothing, or begin a request and never end it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections: list[socket.socket] = []
    deadline = time.monotonic() + 30
    for number in range(SILENT_CONNECTIONS):
        if time.monotonic() > deadline:  # nobody takes them any more
            break
        one = socket.socket()
        one.settimeout(5)
        one.bind((f"127.0.1.{1 + number % 20}", 0))
        with suppress(OSError):  # one more than the collector takes from a peer
            one.connect(("127.0.0.1", port))
            if number % 2:
                one.sendall(b"POST /track HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nhalf of a")
        connections.append(one)
    return connections


def close(connections: Iterable[socket.socket]) -> None:
    for one in connections:
        one.close()


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
