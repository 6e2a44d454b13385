"""Restarts a service that is unhealthy for minutes (`python -m shop_streams.local.watchdog`).

supervisord starts what has exited, but a process that hangs does not exit. The watchdog only ends it: by the service's
stop signal, then by kill -9. supervisord then starts it again, as after any exit, so services that `down` stops stay
stopped. Each service may be killed at any moment: Kafka, PostgreSQL and the lake recover from their logs, the others
hold no state.
"""

from __future__ import annotations

import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from shop_streams.local.health import service_states
from shop_streams.local.probes import beat_file
from shop_streams.local.services import WATCHDOG, Service, services
from shop_streams.local.supervision import connect
from shop_streams.settings import Settings, get_settings

LOOK_SECONDS = 15.0
BLIND_SECONDS = 60.0  # after a longer time between two looks, as of a stopped watchdog, states are not compared
END_SECONDS = 20.0  # for the stop signal; then kill -9
LONGEST_PAUSE = 16  # times the setting
STORES = ("kafka", "postgres")


class Signal(NamedTuple):
    """What is sent to a service's process, and why."""

    service: str
    name: str
    reason: str


@dataclass
class _Case:
    """What the watchdog remembers of a service: monotonic times in seconds, None for never."""

    pid: int | None = None
    unhealthy_since: float | None = None
    asked_at: float | None = None  # when this process got its stop signal
    restarts: int = 0  # since it was last healthy for a whole pause
    restarted_at: float = 0.0

    def pause(self, seconds: float) -> float:
        return float(seconds * min(2**self.restarts, LONGEST_PAUSE))


class Watch:
    """Decides at each look which services to end. It depends on nothing but the looks."""

    def __init__(self, watched: Sequence[Service], seconds: float) -> None:
        self._watched = {service.name: service for service in watched if service.name != WATCHDOG}
        self._cases = {name: _Case() for name in self._watched}
        self._seconds = seconds
        self._looked_at: float | None = None

    def look(self, states: Mapping[str, Mapping[str, Any]], now: float) -> list[Signal]:
        """The signals to send at `now` (monotonic seconds), given each service's state as in `status --json`."""
        blind = self._looked_at is not None and now - self._looked_at > BLIND_SECONDS
        self._looked_at = now
        stores_answer = all(states[name]["state"] == "healthy" for name in STORES)
        signals = []
        for name, service in self._watched.items():
            case, state = self._cases[name], states[name]
            if state["pid"] != case.pid or blind:
                case.pid, case.unhealthy_since, case.asked_at = state["pid"], None, None
            # Without Kafka and PostgreSQL the other services can't be healthy.
            if state["state"] != "unhealthy" or (service.needs_store and not stores_answer):
                case.unhealthy_since = case.asked_at = None
                if state["state"] == "healthy" and now - case.restarted_at > case.pause(self._seconds):
                    case.restarts = 0
            elif signal := self._signal(service, case, now, str(state["reason"])):
                signals.append(signal)
        return signals

    def _signal(self, service: Service, case: _Case, now: float, reason: str) -> Signal | None:
        if case.asked_at is not None:
            limit = max(END_SECONDS, service.stop_seconds)
            if now - case.asked_at < limit:
                return None
            return Signal(service.name, "KILL", f"it did not end within {limit:.0f} s")
        if case.unhealthy_since is None:
            case.unhealthy_since = now
        silent = now - case.unhealthy_since
        if silent < case.pause(self._seconds):
            return None
        case.asked_at = case.restarted_at = now
        case.restarts += 1
        return Signal(service.name, service.stop_signal, f"unhealthy for {silent:.0f} s: {reason}")


def look_once(settings: Settings, watch: Watch, known: Sequence[Service]) -> list[Signal]:
    """Probe every service, send the signals that are due, and print them."""
    beat_file(settings).touch()
    signals = watch.look(service_states(settings, known), time.monotonic())
    for service, name, reason in signals:
        at = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"{at} {service} gets SIG{name}, and supervisord starts it again: {reason}", flush=True)
        with suppress(OSError, xmlrpc.client.Error):  # it has ended by itself, or the stack is stopping
            connect(settings).signalProcess(service, name)
    return signals


def main() -> None:
    """Look again and again until the process is stopped."""
    settings = get_settings()
    known = services(settings)
    watch = Watch(known, settings.restart_unhealthy_seconds)
    while True:
        look_once(settings, watch, known)
        time.sleep(min(LOOK_SECONDS, settings.restart_unhealthy_seconds / 4))


if __name__ == "__main__":
    main()
