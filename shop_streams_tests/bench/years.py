"""years: what runs periodically, with a lake of three years at 200 events a second and Dagster's history of its runs.

The older days have few rows: their number of partitions and files is what costs. The newest 9 days have all rows. Each piece of
work is measured alone: sensors and schedules are off.
"""

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import sync_playwright

from shop_streams.cli.status import STREAMS
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.platform.run_history import forget_runs
from shop_streams.defs.sales.checks import FIELDS, as_counted_by_records
from shop_streams.defs.sales.schema import HOURLY, HOURLY_TOPIC, SHOP_EVENTS
from shop_streams.kafka_send import send_all
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.local.stopping import instance_of
from shop_streams.settings import Settings
from shop_streams_tests.bench.traffic import console
from shop_streams_tests.bench.years_history import copy_run
from shop_streams_tests.bench.years_lake import Years, make_lake
from shop_streams_tests.harness import Stack, running_stack, wait_for

RATE, DAYS, RUNS = 200.0, 1096, 50_000  # 3 years; 50,000 runs are three months
MARTS = ("app_events_enriched_events", "sales_hourly_metrics")  # of this lake; the others have nothing to read
PAGES = {
    "the list of runs": ("/runs", "Launched by"),
    "a mart": (f"/assets/{HOURLY.path}", "One row is one hour of the shop"),
    "Automation": ("/automation", "repair_sales_hourly_metrics"),
    "the lineage": ("/asset-groups", "operations"),
}


def switch_off(stack: Stack) -> None:
    """Switch off all of Dagster's sensors and schedules."""
    of = 'repositorySelector: {repositoryLocationName: "shop_streams", repositoryName: "__repository__"}'
    found = stack.graphql(
        f"{{ sensorsOrError({of}) {{ ... on Sensors {{ results {{ id }} }} }}"
        f" schedulesOrError({of}) {{ ... on Schedules {{ results {{ id }} }} }} }}"
    )
    for kind, stop in (("sensors", "stopSensor"), ("schedules", "stopRunningSchedule")):
        for one in found[f"{kind}OrError"]["results"]:
            stack.graphql(f"mutation($id: String!) {{ {stop}(id: $id) {{ __typename }} }}", id=one["id"])


@contextmanager
def years_old(years: Years) -> Iterator[Stack]:
    """A stack with this lake, whose streams rest: of these tables they have no checkpoint."""
    with tempfile.TemporaryDirectory(prefix="shop-streams-years-") as folder:
        began, made = time.monotonic(), Settings(lake_uri=f"{folder}/made")
        rows = make_lake(made, years)
        console.print(f"a lake of {years.days} days, {rows:,} events, in {time.monotonic() - began:.0f} s")
        with running_stack(LAKE_URI=f"{folder}/lake") as stack:
            switch_off(stack)
            wait_for("the streams to rest", lambda: all(stack.stream(one)["state"] == "resting" for one in STREAMS))
            for table in (HOURLY, ENRICHED, SHOP_EVENTS, EVENTS):  # the marts first: they are up to date then
                place = Path(table.uri(stack.settings))
                shutil.rmtree(place, ignore_errors=True)
                place.parent.mkdir(parents=True, exist_ok=True)
                Path(table.uri(made)).rename(place)
            yield stack


def part(what: str, word: str) -> dict[str, float]:
    """A part of years_part.py, in a process of its own."""
    command = [sys.executable, "-m", "shop_streams_tests.bench.years_part", what, word]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def row(what: str, found: dict[str, float], aim: str, first: dict[str, float] | None = None) -> list[str]:
    """A row of the table: seconds (of the processor), and memory."""

    def shown(one: dict[str, float]) -> str:
        return f"{one['seconds']:.1f} s ({one['cpu_seconds']:.1f} s CPU), {one['mb']:.0f} MB"

    return [f"years: {what}", shown(found), f"the first time {shown(first)}" if first else "", "", aim]


def send_hours(stack: Stack) -> None:
    """What the stream would have sent for each hour of the mart."""
    columns = [*FIELDS, "repeats_revenue", "repeats_visitors", "repeats_purchases"]
    records = []
    for hour in Lake(stack.settings).scan(HOURLY, columns).to_pylist():
        record = {name: value for name, value in as_counted_by_records(hour).items() if name in FIELDS}
        records.append((str(hour["start_ts"]), json.dumps(record)))
    send_all(stack.settings.kafka, HOURLY_TOPIC.name, records)


def periodic(stack: Stack, rate: float) -> Iterator[list[str]]:
    """What sensors, schedules and checks do, each twice: the first time nothing is remembered."""
    for mart in MARTS:
        first = part("tick", mart)
        yield row(f"tick of {mart}", part("tick", mart), "1 s, 200 MB", first)
    yield row("account of an hour, without reading Kafka", part("hour", str(rate)), "10 s, 1 GB")
    yield row("account of 24 hours, without reading Kafka", part("day", str(rate)), "10 s, 1 GB")
    yield row("rows_in_equal_rows_out, a new window", part("window", ""), "10 s, 1 GB")
    yield row("no_null_user", part("check", "users"), "10 s, 1 GB")
    send_hours(stack)
    first = part("check", "parity")
    yield row("parity_with_stream", part("check", "parity"), "10 s, 1 GB", first)
    yield row("status", part("status", ""), "2 s")


def partitions(stack: Stack) -> Iterator[list[str]]:
    """Two small closed days, a full one, and a full window, from the request in Dagster to its end.

    The first of them is also the first job of Spark's server, which has compiled nothing yet.
    """
    for table, place in ((HOURLY, -20), (HOURLY, -21), (HOURLY, -2), (ENRICHED, -9)):
        key = sorted(Lake(stack.settings).source_versions(table))[place]
        began = time.monotonic()
        stack.run_job("__ASSET_JOB", asset_key(table), partition=key, seconds=1800)
        yield [f"years: {table.path} {key}", f"{time.monotonic() - began:.0f} s", "", "", "10 s"]


def pages(stack: Stack, rounds: int, when: str) -> list[list[str]]:
    """Seconds until a page of Dagster shows its content, in a browser that has Dagster's scripts."""
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page()
        for name, (path, words) in PAGES.items():
            times = []
            for _ in range(rounds + 1):
                began = time.monotonic()
                page.goto(f"{stack.settings.dagster_url}{path}")
                page.get_by_text(words).first.wait_for(timeout=60_000)
                times.append(time.monotonic() - began)
            median = statistics.median(times[1:])  # the first one loads the scripts
            found.append([f"years: page of {name}, {when}", f"{median:.1f} s", "", "", "2 s"])
        browser.close()
    return found


def history(stack: Stack, rounds: int) -> Iterator[list[str]]:
    """Dagster's pages with a long history, and after the age limit was applied to it."""
    days = sorted(Lake(stack.settings).source_versions(HOURLY))
    run = stack.run_job("__ASSET_JOB", asset_key(HOURLY), partition=days[0], seconds=600)
    written = copy_run(stack.settings, run, RUNS)
    yield from pages(stack, rounds, f"{RUNS:,} runs, {written:,} rows")
    with instance_of(stack.settings) as instance:
        began = time.monotonic()
        before = datetime.now(UTC) - timedelta(days=stack.settings.history_days)
        done = forget_runs(instance, before)
        seconds = time.monotonic() - began
    yield [f"years: {done.runs_deleted:,} runs deleted", f"{seconds:.0f} s", f"{done.runs_kept:,} kept", "", ""]
    yield from pages(stack, rounds, "after it")


def bench_years(rounds: int) -> list[list[str]]:
    """All of it, on a stack of its own. Each row is printed when it is known: the whole takes half an hour."""
    found = []
    with years_old(Years(datetime.now(UTC), days=DAYS, rate=RATE)) as stack:
        for one in itertools.chain(periodic(stack, RATE), partitions(stack), history(stack, rounds)):
            console.print(" | ".join(one))
            found.append(one)
    return found
