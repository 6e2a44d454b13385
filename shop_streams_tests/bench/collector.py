"""The collector against a plain FastAPI endpoint, and clicks against events; 64 connections, everything but Kafka at rest."""

import json
import shutil
import statistics
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from shop_streams.defs.app_events.schema import EVENTS_TOPIC as EVENTS
from shop_streams.local import stack
from shop_streams.local.stopping import stop_runs
from shop_streams.local.supervision import connect
from shop_streams.settings import Settings
from shop_streams_tests.bench.traffic import console
from shop_streams_tests.collector.clients import query
from shop_streams_tests.harness import free_ports, wait_for

RESTING = ("dagster_daemon", "dagster_webserver", "dagster_code_server", "spark", "api")


@contextmanager
def resting(settings: Settings) -> Any:
    """The streams and all that does not serve the collector, stopped for a while."""
    supervisor = connect(settings)
    stop_runs(settings, console.print)
    for name in RESTING:
        supervisor.stopProcess(name)
    try:
        yield
    finally:
        for name in RESTING:
            supervisor.startProcess(name, False)
        stack.up(settings, console)


def wrk(url: str, settings: Settings, body: bytes | None, folder: Path) -> tuple[float, float]:
    """Requests a second and the 99th percentile in ms, 64 connections for 10 s: POST of `body`, or GET without one."""
    script = folder / "request.lua"
    post = (
        f'wrk.method="POST"\nwrk.body=[==[{body.decode()}]==]\nwrk.headers["Content-Type"]="application/json"\n'
        f'wrk.headers["X-Token"]="{settings.track_token}"\n'
        if body is not None
        else ""
    )
    script.write_text(
        f"{post}"
        'done=function(s,l,r) io.write(string.format("RESULT %f %f %d\\n", s.requests/s.duration*1e6, l:percentile(99)/1000, s.errors.status)) end\n'
    )
    answer = subprocess.run(
        ["wrk", "-t1", "-c64", "-d10s", "-s", str(script), url], capture_output=True, text=True, check=True
    )
    rate, p99, errors = next(line for line in answer.stdout.splitlines() if line.startswith("RESULT")).split()[1:]
    if int(errors):
        raise SystemExit(f"{errors} requests were not answered with 200")
    console.print(f"  {url.partition('?')[0]}: {float(rate):,.0f} requests/s, p99 {float(p99):.1f} ms", highlight=False)
    return float(rate), float(p99)


def bench_collector(settings: Settings, folder: Path, rounds: int) -> list[list[str]]:
    if shutil.which("wrk") is None:
        return [["collector", "not measured: wrk is missing (Debian: apt-get install wrk)", "", "", ""]]
    port = free_ports(1)[0]
    command = [
        sys.executable,
        "-m",
        "shop_streams_tests.bench.fastapi_endpoint",
        str(settings.kafka),
        EVENTS.name,
        str(port),
    ]
    plain = subprocess.Popen(command)
    one = json.dumps(
        {"user_id": 1, "app_name": "web", "event_category": "nav", "event_action": "scroll", "event_value": 5}
    )
    many = json.dumps([json.loads(one)] * 500)
    url = f"http://127.0.0.1:{settings.collector_port}/track"
    baseline = f"http://127.0.0.1:{port}/track"
    click = query(
        l="http://localhost:8290/katalog/item/42/", r="http://localhost:8290/", i="1ak", j="sj", k="2", w="uq", h="qd"
    )
    clicks_url = f"http://127.0.0.1:{settings.collector_port}/csc-event?{click}"
    try:
        wait_for("the FastAPI endpoint", lambda: _answers(port))
        singles = [
            (wrk(url, settings, one.encode(), folder), wrk(baseline, settings, one.encode(), folder))
            for _ in range(rounds)
        ]
        pairs = [
            (wrk(clicks_url, settings, None, folder), wrk(url, settings, one.encode(), folder)) for _ in range(rounds)
        ]
        arrays = [wrk(url, settings, many.encode(), folder) for _ in range(rounds)]
    finally:
        plain.terminate()
        plain.wait()
    rate = statistics.median(ours[0] for ours, _ in singles)
    p99 = statistics.median(ours[1] for ours, _ in singles)
    theirs = statistics.median(their_rate for _, (their_rate, _) in singles)
    their_p99 = statistics.median(their_p99 for _, (_, their_p99) in singles)
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in singles)
    events = 500 * statistics.median(array for array, _ in arrays)
    clicks = statistics.median(ours[0] for ours, _ in pairs)
    clicks_p99 = statistics.median(ours[1] for ours, _ in pairs)
    return [
        [
            "GET /csc-event",
            f"{clicks:,.0f}/s, p99 {clicks_p99:.0f} ms",
            f"POST /track {statistics.median(events[0] for _, events in pairs):,.0f}/s",
            f"ratio {statistics.median(ours[0] / events[0] for ours, events in pairs):.2f}",
            "ratio 0.8",
        ],
        [
            "POST /track",
            f"{rate:,.0f}/s, p99 {p99:.0f} ms",
            f"FastAPI {theirs:,.0f}/s, p99 {their_p99:.0f} ms",
            f"ratio {ratio:.2f}",
            "ratio 2.5, p99 30 ms",
        ],
        ["POST /track, arrays of 500", f"{events:,.0f} events/s", "", "", "60,000 events/s"],
    ]


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/docs", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
