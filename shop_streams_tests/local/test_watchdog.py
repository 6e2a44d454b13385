"""A service that hangs is ended and started again; one that is only starting, recovering or without its stores is not."""

import os
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from shop_streams.local import down, health, probes
from shop_streams.local.down import ORDER, stop_services
from shop_streams.local.probes import Recovering, Unhealthy
from shop_streams.local.services import WATCHDOG, Service, services
from shop_streams.local.supervision import connect
from shop_streams.local.watchdog import END_SECONDS, LONGEST_PAUSE, Signal, Watch, look_once
from shop_streams.settings import Settings
from shop_streams_tests.harness import Stack, wait_for

SECONDS = 100.0
NAMES = ("kafka", "postgres", "collector")


def service(name: str) -> Service:
    stop = "INT" if name == "postgres" else "TERM"
    return Service(name, [], lambda: None, "", stop_signal=stop, needs_store=name == "collector")


def looks(*moments: tuple[float, dict[str, str]], pids: dict[str, int] | None = None) -> list[list[Signal]]:
    """The signals of each look: (seconds since the first, the states of those that are not healthy)."""
    watch = Watch([service(name) for name in NAMES], SECONDS)
    return [watch.look(states(unwell, pids or {}), at) for at, unwell in moments]


def states(unwell: dict[str, str], pids: dict[str, int]) -> dict[str, dict[str, Any]]:
    return {
        name: {"state": unwell.get(name, "healthy"), "pid": pids.get(name, 1), "reason": "no answer"} for name in NAMES
    }


def every_15_s(until: float, unwell: dict[str, str], since: float = 0) -> list[tuple[float, dict[str, str]]]:
    return [(float(at), unwell) for at in range(int(since), int(until) + 1, 15)]


@pytest.mark.parametrize(
    ("name", "signal"), [("kafka", "TERM"), ("postgres", "INT"), ("collector", "TERM")]
)  # PostgreSQL's TERM would wait for its clients
def test_a_service_that_stays_unhealthy_gets_its_stop_signal_and_then_kill_9(name: str, signal: str) -> None:
    hung = every_15_s(SECONDS + 35, {name: "unhealthy"})
    found = dict(zip([at for at, _ in hung], looks(*hung), strict=True))
    assert [(at, [one[:2] for one in sent]) for at, sent in found.items() if sent] == [
        (105, [(name, signal)]),
        (135, [(name, "KILL")]),
    ]
    assert "unhealthy for 105 s: no answer" in found[105][0].reason


UNTOUCHED: dict[str, Sequence[tuple[float, dict[str, str]]]] = {
    "starting or recovering": every_15_s(400, {"postgres": "starting"}),
    "stopped by a person or by down": every_15_s(400, {"collector": "stopped"}),
    "healthy in between": [
        *every_15_s(90, {"kafka": "unhealthy"}), (95, {}), *every_15_s(180, {"kafka": "unhealthy"}, 100),
    ],
    "without its stores": every_15_s(400, {"kafka": "stopped", "collector": "unhealthy"}),
    "the machine slept": [(0, {"kafka": "unhealthy"}), (3600, {"kafka": "unhealthy"}), (3615, {"kafka": "unhealthy"})],
    "it recovered after its stop signal": [
        *every_15_s(105, {"kafka": "unhealthy"})[:-1], (120, {}), (135, {"kafka": "unhealthy"}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", UNTOUCHED)
def test_other_services_get_no_signal(case: str) -> None:
    assert not any(looks(*UNTOUCHED[case]))


def test_a_new_process_has_its_own_time() -> None:
    watch = Watch([service(name) for name in NAMES], SECONDS)
    for at in range(0, 95, 15):
        assert not watch.look(states({"kafka": "unhealthy"}, {"kafka": 1}), at)
    for at in range(105, 195, 15):
        assert not watch.look(states({"kafka": "unhealthy"}, {"kafka": 2}), at)


def test_restarts_that_do_not_help_come_with_growing_pauses() -> None:
    watch = Watch([service(name) for name in NAMES], SECONDS)
    restarted, pid = [0], 1
    for at in range(0, 12_000, 15):
        if watch.look(states({"kafka": "unhealthy"}, {"kafka": pid}), at):
            restarted.append(at)
            pid += 1
    pauses = [later - earlier for earlier, later in pairwise(restarted)]
    assert [round(pause / SECONDS) for pause in pauses][:6] == [1, 2, 4, 8, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_service_that_was_well_for_a_pause_begins_with_the_first_one_again() -> None:
    watch = Watch([service(name) for name in NAMES], SECONDS)
    sent = [bool(watch.look(states(unwell, {}), at)) for at, unwell in every_15_s(105, {"kafka": "unhealthy"})]
    assert sent[-1]
    for at, unwell in every_15_s(345, {}, 120):
        watch.look(states(unwell, {}), at)
    later = every_15_s(465, {"kafka": "unhealthy"}, 360)
    assert [at for at, unwell in later if watch.look(states(unwell, {}), at)] == [465]


@pytest.mark.parametrize(
    ("words", "kind"),
    [("FATAL:  the database system is starting up", Recovering), ("timeout expired", Unhealthy)],
)
def test_a_database_that_recovers_is_starting_and_not_unhealthy(
    words: str, kind: type[Unhealthy], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise psycopg2.OperationalError(words)

    monkeypatch.setattr(probes, "connect", refuse)
    with pytest.raises(Unhealthy) as answer:
        probes.probe_postgres(Settings())
    assert type(answer.value) is kind

    class Supervisor:
        @staticmethod
        def getAllProcessInfo() -> list[dict[str, Any]]:
            return [{"name": "postgres", "statename": "RUNNING", "pid": 7, "now": 10_000, "start": 0}]

    monkeypatch.setattr(health, "connect", lambda _settings: Supervisor)
    known = [Service("postgres", [], lambda: probes.probe_postgres(Settings()), "")]
    found = health.service_states(Settings(kafka_bootstrap_servers=""), known)["postgres"]
    assert found["state"] == ("starting" if kind is Recovering else "unhealthy") and words in found["reason"]


def test_the_watchdog_says_when_it_has_not_looked(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(Unhealthy, match="not looked yet"):
        probes.probe_watchdog(settings)
    probes.beat_file(settings).touch()
    probes.probe_watchdog(settings)
    for moved in (-90, 90):  # 90 s ahead: the clock was set back, and it has not looked since
        os.utime(probes.beat_file(settings), (time.time() + moved, time.time() + moved))
        with pytest.raises(Unhealthy, match="last look was 90 s ago"):
            probes.probe_watchdog(settings)


def test_down_stops_the_watchdog_before_anything_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stopped: list[tuple[tuple[str, ...], bool]] = []
    monkeypatch.setattr(down, "is_up", lambda _settings: True)
    monkeypatch.setattr(down, "supervisor_process", lambda _settings: None)
    monkeypatch.setattr(down, "processes_of", lambda _settings: [])
    monkeypatch.setattr(down, "connect", lambda _settings: object())
    monkeypatch.setattr(down, "stop_services", lambda _client, names, wait=True: stopped.append((names, wait)))
    down.down(Settings(home=tmp_path))
    assert stopped[0] == ((WATCHDOG,), True) and [names for names, _ in stopped[2:]] == list(ORDER)


def test_a_service_that_hangs_is_running_again(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGSTOP: the process is there, its port is open, and nobody answers; TERM waits until it may run again."""
    stop_services(connect(stack.settings), (WATCHDOG,))  # its patience is longer than the test's
    known = services(stack.settings)
    watch = Watch(known, 3)
    api = wait_for(
        "a healthy api", lambda: (found := stack.status()["services"]["api"])["state"] == "healthy" and found
    )
    others = {name: one["pid"] for name, one in stack.status()["services"].items() if name not in ("api", WATCHDOG)}
    process = psutil.Process(api["pid"])
    process.suspend()
    try:
        sent: list[Signal] = []

        def back() -> bool:
            sent.extend(look_once(stack.settings, watch, known))
            now = stack.status()["services"]["api"]
            return bool(now["state"] == "healthy" and now["pid"] != api["pid"])

        wait_for("the api to answer again", back, 60 + 3 + END_SECONDS + 60)
    finally:
        if process.is_running():
            process.resume()
        connect(stack.settings).startProcess(WATCHDOG, False)
    assert [(one.service, one.name) for one in sent] == [("api", "TERM"), ("api", "KILL")]
    assert "api gets SIGTERM, and supervisord starts it again: unhealthy for" in capsys.readouterr().out
    now = {name: one["pid"] for name, one in stack.status()["services"].items() if name not in ("api", WATCHDOG)}
    assert now == others, "nobody else was touched"
    wait_for("the watchdog to look again", lambda: stack.status()["services"][WATCHDOG]["state"] == "healthy")
