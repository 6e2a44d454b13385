"""Whether each service is healthy: wait until all are, or say how each one is now."""

from __future__ import annotations

import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from shop_streams.errors import ShopStreamsError
from shop_streams.local.probes import Recovering, RefusesUs, Unhealthy
from shop_streams.local.services import DAEMON, WATCHDOG, Service, external_probes, services
from shop_streams.local.supervision import connect
from shop_streams.settings import Settings

START_SECONDS = 180.0
QUIET_SECONDS = 30.0  # in a log, where nobody sees the spinner, say what is waited for
YOUNG_SECONDS = 60.0  # a service that has just been started is not called unhealthy


def wait_healthy(settings: Settings, waited: dict[str, Callable[[], None]], console: Console) -> None:
    """Wait until each probe passes, and print a line for each service.

    Raises:
        ShopStreamsError: a service refuses us, or is not healthy after 180 s; then with the end of its log.
    """
    deadline = time.monotonic() + START_SECONDS
    started = said = time.monotonic()
    reasons = dict.fromkeys(waited, "not probed yet")
    with console.status("") as status:
        while reasons:
            for name in list(reasons):
                try:
                    waited[name]()
                except RefusesUs as refused:
                    raise ShopStreamsError(str(refused)) from refused
                except Unhealthy as unhealthy:
                    reasons[name] = str(unhealthy)
                else:
                    del reasons[name]
                    seconds = time.monotonic() - started
                    console.print(f"  [green]✓[/] {name} healthy after {seconds:.1f} s", highlight=False)
                    said = time.monotonic()
            if reasons and not console.is_terminal and time.monotonic() - said > QUIET_SECONDS:
                waiting = "; ".join(f"{name}: {reason.splitlines()[0]}" for name, reason in reasons.items())
                console.print(f"  waiting for {waiting}", markup=False, highlight=False, soft_wrap=True)
                said = time.monotonic()
            status.update(f"waiting for {', '.join(reasons)}")
            if reasons and time.monotonic() > deadline:
                name, reason = next(iter(reasons.items()))
                raise ShopStreamsError(
                    f"{name} is not healthy after {START_SECONDS:.0f} s: {reason}\n{_where_to_look(settings, name)}"
                )
            if reasons:
                time.sleep(0.25)


def _where_to_look(settings: Settings, name: str, lines: int = 15) -> str:
    if not settings.embedded.get(name, True):
        return f"The settings name the address of {name}: start it there, or correct the address."
    log = settings.home / "logs" / f"{name}.log"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"
    return f"Its log: {log}\n{tail}"


def service_states(settings: Settings, known: Sequence[Service] | None = None) -> dict[str, dict[str, Any]]:
    """State of each service: `healthy`, `starting`, `unhealthy`, `stopped` or `unknown`, with pid and the reason when not healthy.

    `known` are the home's services, for callers that ask often: listing them starts Java once.

    If Kafka, PostgreSQL and Spark are all elsewhere, systemd or containers may run the parts: one that does not answer here is
    then `unknown`, and the watchdog, which restarts embedded services, is left out.
    """
    try:
        supervised = {info["name"]: info for info in connect(settings).getAllProcessInfo()}
    except (OSError, xmlrpc.client.Error):
        supervised = {}
    probes: dict[str, Callable[[], None]] = {service.name: service.probe for service in known or services(settings)}
    external = external_probes(settings)
    elsewhere = not supervised and not any(settings.embedded.values())
    if elsewhere:
        probes.pop(WATCHDOG, None)
        external |= {DAEMON: probes.pop(DAEMON)} if DAEMON in probes else {}  # its beats are in the database
    states: dict[str, dict[str, Any]] = {}
    for name, probe in (external | probes).items():
        info = supervised.get(name)
        running = info is not None and info["statename"] in ("RUNNING", "STARTING")
        ours = name not in external
        if ours and not running and not elsewhere:
            states[name] = {"state": "stopped", "pid": None}
            continue
        pid = info["pid"] if info else None
        try:
            probe()
            states[name] = {"state": "healthy", "pid": pid}
        except Unhealthy as reason:
            if ours and elsewhere:
                states[name] = {"state": "unknown", "pid": None, "reason": f"no answer from here: {reason}"}
                continue
            young = info is not None and info["now"] - info["start"] < YOUNG_SECONDS
            starting = young or isinstance(reason, Recovering)
            states[name] = {"state": "starting" if starting else "unhealthy", "pid": pid, "reason": str(reason)}
    return states
