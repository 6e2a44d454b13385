"""Start, stop and look at all services of a home."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from shop_streams.environment import process_environment
from shop_streams.errors import ShopStreamsError
from shop_streams.local import class_archive
from shop_streams.local.jars import require_jars, require_java
from shop_streams.local.prepare import postgres_user, runtime_folder
from shop_streams.local.private import OTHERS, close_home, write_private
from shop_streams.local.probes import Unhealthy
from shop_streams.local.services import Service, external_probes, services
from shop_streams.local.stopping import cancel_left_over_runs, not_interrupted, stop_runs
from shop_streams.local.supervision import (
    configuration,
    connect,
    is_up,
    processes_of,
    supervisor_process,
    write_configuration,
)
from shop_streams.settings import Settings
from shop_streams.streaming.patience import wait_until_it_answers
from shop_streams.streaming.rest import RestRequest

START_SECONDS = 180.0
STOP_SECONDS = 120.0
# What makes new work goes first, and what keeps the work last.
ORDER = (
    ("dagster_daemon", "dagster_webserver", "collector", "api"),
    ("dagster_code_server",),
    ("spark",),
    ("kafka", "postgres"),
)
FREE_BYTES_NEEDED = 1_000_000_000


def _check_home(settings: Settings) -> None:
    """A home that can't take the data is a clear error before anything starts."""
    home = settings.home
    try:
        for name in ("logs", "lake"):  # Spark would make the lake readable for everybody
            (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        close_home(home, traversable=postgres_user() is not None and settings.embedded["postgres"])
        probe = home / ".writable"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise ShopStreamsError(
            f"The home folder {home} can't be written: {error.strerror}. Free it or set SHOP_STREAMS_HOME to another folder."
        ) from error
    free = shutil.disk_usage(home).free
    if free < FREE_BYTES_NEEDED:
        raise ShopStreamsError(
            f"The disk of {home} has only {free / 1e6:.0f} MB free; {FREE_BYTES_NEEDED / 1e6:.0f} MB are needed. "
            "Free some space or set SHOP_STREAMS_HOME to another disk."
        )


def _check_ports(settings: Settings, all_services: list[Service]) -> None:
    names = [service.port_setting for service in all_services if service.port_setting]
    if "kafka_port" in names:
        names.append("kafka_controller_port")
    ports = {name: int(getattr(settings, name)) for name in names}
    taken = [name for name, port in ports.items() if _is_taken(port)]
    twice = [name for name, port in ports.items() if list(ports.values()).count(port) > 1]
    if not taken and not twice:
        return
    said = [f"Port {ports[name]} ({name.removesuffix('_port').replace('_', ' ')}) is taken" for name in taken]
    said += [f"SHOP_STREAMS_{name.upper()}={ports[name]} is not the only one with this port" for name in twice]
    variables = ", ".join(f"SHOP_STREAMS_{name.upper()}" for name in dict.fromkeys(taken + twice))
    raise ShopStreamsError(f"{'; '.join(said)}. Stop what uses them, or set {variables} to free ports.")


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _wait_healthy(settings: Settings, waited: dict[str, Callable[[], None]], console: Console) -> None:
    """Wait for each probe to pass, one line a service; raises with the service's last words when time is up."""
    deadline = time.monotonic() + START_SECONDS
    started = time.monotonic()
    reasons = dict.fromkeys(waited, "not asked yet")
    with console.status("") as status:
        while reasons:
            for name in list(reasons):
                try:
                    waited[name]()
                except Unhealthy as unhealthy:
                    reasons[name] = str(unhealthy)
                else:
                    del reasons[name]
                    console.print(
                        f"  [green]✓[/] {name} healthy after {time.monotonic() - started:.1f} s",
                        highlight=False,
                    )
            status.update(f"waiting for {', '.join(reasons)}")
            if reasons and time.monotonic() > deadline:
                name, reason = next(iter(reasons.items()))
                log = settings.home / "logs" / f"{name}.log"
                raise ShopStreamsError(
                    f"{name} is not healthy after {START_SECONDS:.0f} s: {reason}\nIts log: {log}\n{_tail(log)}"
                )
            if reasons:
                time.sleep(0.25)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


@contextmanager
def stopping_on_failure(settings: Settings) -> Any:
    """A block that fails or is interrupted leaves nothing running."""
    try:
        yield
    except BaseException:  # Ctrl-C too; raised again
        down(settings)
        raise


def up(settings: Settings, console: Console) -> None:
    """Start every service, in two waves, and return once each is healthy. A second call only waits.

    Raises:
        ShopStreamsError: Java or the jars are missing, a port is taken, the home can't be written, or a
            service did not become healthy; nothing is left running then.
    """
    require_java()
    require_jars(settings)
    _check_home(settings)
    all_services = services(settings)
    probes = {service.name: service.probe for service in all_services} | external_probes(settings)
    if is_up(settings):
        start_stopped(settings)
        _wait_healthy(settings, probes, console)
        return
    stop_strays(settings)
    _check_ports(settings, all_services)
    before = os.umask(OTHERS)
    try:
        for service in all_services:
            service.prepare()
    finally:
        os.umask(before)
    make_runtime_folder(settings)
    write_configuration(settings, all_services)
    write_private(settings.home / "stack.env", stack_env(settings))
    subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration(settings))],
        check=True, env=process_environment(settings),
    )  # fmt: skip
    with stopping_on_failure(settings):
        client = connect(settings)
        first = {service.name for service in all_services if not service.needs_store}
        for name in sorted(first):
            client.startProcess(name, False)
        stores = {name: probe for name, probe in probes.items() if name in ("kafka", "postgres")}
        _wait_healthy(settings, stores, console)
        prepare_stores(settings)
        cancel_left_over_runs(settings)
        for service in all_services:
            if service.needs_store:
                client.startProcess(service.name, False)
        _wait_healthy(settings, {name: probe for name, probe in probes.items() if name not in stores}, console)


def start_stopped(settings: Settings) -> None:
    """Start what a `down` that was killed has stopped, and let the streams run again."""
    client = connect(settings)
    for info in client.getAllProcessInfo():
        if info["statename"] in ("STOPPED", "EXITED", "FATAL"):
            client.startProcess(info["name"], False)
    wait_until_it_answers(RestRequest.of(settings).clear, START_SECONDS)


def make_runtime_folder(settings: Settings) -> None:
    """Make the sockets' folder; one that another user made under this name is refused."""
    folder = runtime_folder(settings)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise ShopStreamsError(f"{folder} belongs to another user; delete it and try again.")
    folder.chmod(0o700)


def stack_env(settings: Settings) -> str:
    """The settings as python-dotenv reads them: quoted, since a path may have spaces, quotes and number signs."""
    values = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in settings.environment().items()}
    return "".join(f"{key}='{value}'\n" for key, value in values.items())


def prepare_stores(settings: Settings) -> None:
    """Create topics and our tables, and let Dagster create its own before three of its processes race to do so."""
    from dagster import DagsterInstance

    from shop_streams.beats import ProcessBeats
    from shop_streams.defs.domains import TOPICS
    from shop_streams.defs.promotions.tables import create_subscribers
    from shop_streams.local.database_zone import require_utc
    from shop_streams.marts.failures import MartFailures
    from shop_streams.streaming.lease import Leases
    from shop_streams.streaming.narrowing import Narrowing
    from shop_streams.topics import create_topics

    require_utc(settings)
    create_topics(settings, TOPICS)
    Leases(settings.postgres).create_table()
    ProcessBeats(settings.postgres).create_table()
    Narrowing(settings.postgres).create_tables()
    MartFailures(settings.postgres, "").create_table()
    RestRequest.of(settings).create_table()
    RestRequest.of(settings).clear()
    if settings.embedded["postgres"]:
        create_subscribers(settings.postgres)  # elsewhere the table is the shop's own
    os.environ.update(process_environment(settings))  # dagster.yaml takes the database's address from there
    DagsterInstance.from_config(str(settings.dagster_home)).dispose()


def down(settings: Settings, say: Callable[[str], None] = lambda _text: None) -> bool:
    """Stop everything of this home: its runs first, then the services; returns whether anything ran."""
    with not_interrupted(say):
        supervisor = supervisor_process(settings)
        client = connect(settings) if is_up(settings) else None
        if client is not None:
            stop_services(client, ORDER[0], wait=False)  # they take their time, as the streams do
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
                with suppress(OSError, ShopStreamsError):  # it only saves time
                    class_archive.keep(settings)
        strays = stop_strays(settings)
        shutil.rmtree(runtime_folder(settings), ignore_errors=True)
        (settings.home / "stack.env").unlink(missing_ok=True)
    return supervisor is not None or strays


def stop_services(client: Any, names: tuple[str, ...], wait: bool = True) -> None:
    """Ask the supervisor to stop these services; returns once they have ended, if told to `wait`."""
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
    """End what a killed supervisor left behind, so that the next start finds its ports free; whether there was anything."""
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


def service_states(settings: Settings) -> dict[str, dict[str, Any]]:
    """State of each service: `healthy`, `starting`, `unhealthy`, `stopped`, with pid and the reason when not healthy."""
    try:
        supervised = {info["name"]: info for info in connect(settings).getAllProcessInfo()}
    except (OSError, xmlrpc.client.Error):
        supervised = {}
    probes: dict[str, Callable[[], None]] = {service.name: service.probe for service in services(settings)}
    external = external_probes(settings)
    states: dict[str, dict[str, Any]] = {}
    for name, probe in (external | probes).items():
        info = supervised.get(name)
        running = info is not None and info["statename"] in ("RUNNING", "STARTING")
        if name not in external and not running:
            states[name] = {"state": "stopped", "pid": None}
            continue
        pid = info["pid"] if info else None
        try:
            probe()
            states[name] = {"state": "healthy", "pid": pid}
        except Unhealthy as reason:
            young = info is not None and info["now"] - info["start"] < 60
            states[name] = {"state": "starting" if young else "unhealthy", "pid": pid, "reason": str(reason)}
    return states
