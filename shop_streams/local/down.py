"""Stop a home's stack: first the services that start new work, then the runs, then the services that runs need."""

from __future__ import annotations

import shutil
import signal
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from shop_streams.errors import ShopStreamsError
from shop_streams.local import class_archive
from shop_streams.local.prepare import runtime_folder
from shop_streams.local.services import WATCHDOG
from shop_streams.local.stopping import not_interrupted, stop_runs
from shop_streams.local.supervision import connect, is_up, processes_of, supervisor_process
from shop_streams.settings import Settings

STOP_SECONDS = 120.0
# The services that start new work stop first, the stores last.
ORDER = (
    ("dagster_daemon", "dagster_webserver", "collector", "api", "demo_shop"),
    ("dagster_code_server",),
    ("spark",),
    ("kafka", "postgres"),
)


def down(settings: Settings, say: Callable[[str], None] = lambda _text: None) -> bool:
    """Stop everything of this home: its runs first, then the services; returns whether anything ran."""
    with not_interrupted(say):
        supervisor = supervisor_process(settings)
        client = connect(settings) if is_up(settings) else None
        if client is not None:
            stop_services(client, (WATCHDOG,))  # it must not kill a service that is stopping
            stop_services(client, ORDER[0], wait=False)  # they stop while the streams do
        if supervisor is not None or processes_of(settings):
            stop_runs(settings, say)
        if client is not None:
            for names in ORDER:
                stop_services(client, names)
        if supervisor is not None:
            supervisor.send_signal(signal.SIGTERM)
            with suppress(psutil.TimeoutExpired):
                supervisor.wait(STOP_SECONDS)
            if supervisor.is_running():
                supervisor.kill()
            else:
                with suppress(OSError, ShopStreamsError):  # the archive only saves time
                    class_archive.keep(settings)
        strays = stop_strays(settings)
        shutil.rmtree(runtime_folder(settings), ignore_errors=True)
        (settings.home / "stack.env").unlink(missing_ok=True)
    return supervisor is not None or strays


def stop_services(client: Any, names: tuple[str, ...], wait: bool = True) -> None:
    """Ask the supervisor to stop these services; with `wait`, returns once they have ended, or after 120 s."""
    deadline = time.monotonic() + STOP_SECONDS
    with suppress(OSError, xmlrpc.client.Error):  # a supervisor that dies meanwhile leaves them to `stop_strays`
        while running := [
            info["name"]
            for info in client.getAllProcessInfo()
            if info["name"] in names and info["statename"] in ("STARTING", "RUNNING", "BACKOFF", "STOPPING")
        ]:
            for info in client.getAllProcessInfo():
                if info["name"] in running and info["statename"] != "STOPPING":
                    client.stopProcess(info["name"], False)
            if not wait or time.monotonic() > deadline:
                return
            time.sleep(0.1)


def stop_strays(settings: Settings) -> bool:
    """End what a killed supervisor left behind, so that its ports are free; returns whether there was anything."""
    strays = processes_of(settings)
    for process in strays:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(strays, timeout=15)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return bool(strays)


@contextmanager
def stopping_on_failure(settings: Settings, say: Callable[[str], None]) -> Iterator[None]:
    """Stop the stack when the block fails or is interrupted."""
    try:
        yield
    except BaseException:  # Ctrl-C too; raised again
        say("Stopping what was started …")
        down(settings, say)
        raise
