"""community: the first load and its marts against DuckDB, its growth, many cities, and a day's increment after a long history."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from shop_streams.cli.status import STREAMS
from shop_streams.defs.community.cities import Places, load_cities
from shop_streams.defs.community.schema import EVENTS, FRIEND_RECOMMENDATIONS, STG_EVENTS, USERS_MART, ZONES_MART
from shop_streams.defs.community.stg_source import INITIAL_LOAD
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.local.supervision import connect
from shop_streams.settings import Settings
from shop_streams.simulate import community
from shop_streams_tests.bench.traffic import console
from shop_streams_tests.harness import Stack, running_stack, wait_for

FIRST, DEPTH = date(2026, 3, 1), 30
MARTS: tuple[Table, ...] = (USERS_MART, ZONES_MART, FRIEND_RECOMMENDATIONS)
BY_DATE: tuple[Table, ...] = (STG_EVENTS, EVENTS, *MARTS)
ROWS, USERS, SUBSCRIBERS, DAYS = 2_000_000, 400_000, 300_000, 30
CITIES = 100_000
A_DAY = 5_000  # rows, of the increment


@contextmanager
def alone() -> Iterator[Stack]:
    """A new stack whose streams rest: the machine is the load's."""
    with running_stack() as stack:
        for name in STREAMS:
            stack.switch(name, False)
        wait_for("the streams to rest", lambda: all(stack.stream(name)["state"] == "resting" for name in STREAMS))
        yield stack


def load(stack: Stack) -> float:
    """Seconds of the first load, from its request to its end."""
    started = time.monotonic()
    stack.run_job(INITIAL_LOAD, seconds=3600)
    return time.monotonic() - started


def peak_of_spark(settings: Settings) -> float:
    """The most memory that Spark's server had so far, GiB."""
    process = connect(settings).getProcessInfo("spark")["pid"]
    status = dict(line.split(":") for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 2**20


def by_duckdb(settings: Settings, out: Path) -> tuple[float, dict[str, int]]:
    """Seconds of the same work in DuckDB, and the rows of the marts' last date."""
    words = [settings.community_raw, settings.community_geo, str(out), str(DEPTH)]
    module = "shop_streams_tests.bench.community_duckdb"
    done = subprocess.run([sys.executable, "-m", module, *words], check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    return found["seconds"], found["rows"]


def against_duckdb() -> list[str]:
    """The first load of 2 million rows of 30 dates, one channel with 300,000 subscribers, and all marts of these dates."""
    with alone() as stack:
        settings = stack.settings
        community.big(settings, ROWS, USERS, SUBSCRIBERS, 1, FIRST, DAYS)
        ours = load(stack)
        theirs, rows = by_duckdb(settings, settings.home / "duckdb")
        counts = Lake(settings).row_counts
        last = (FIRST + timedelta(days=DAYS - 1)).isoformat()
        found = {table.path.split("/")[1]: counts(table).get(last, 0) for table in MARTS}
        if found != rows:
            raise SystemExit(f"not the same work: {found}, DuckDB {rows}")
        what = f"community: {ROWS // 10**6} M rows, {DAYS} dates, marts"
        heap = f"{ours:.0f} s, Spark at most {peak_of_spark(settings):.1f} GiB"
        return [what, heap, f"DuckDB {theirs:.0f} s", f"{ours / theirs:.1f} x", "8 x"]


def growth() -> list[str]:
    """The first load of 1 and of 5 million rows of the same ten dates."""
    seconds = []
    for millions in (1, 5):
        with alone() as stack:
            community.big(
                stack.settings, millions * 10**6, millions * USERS // 2, millions * SUBSCRIBERS // 2, 1, FIRST, 10
            )
            seconds.append(load(stack))
    one, five = seconds
    return ["community: 5 M rows", f"{five:.0f} s", f"1 M rows {one:.0f} s", f"{five / one:.1f} x", "5 x"]


def many_cities(rounds: int) -> list[str]:
    """The nearest city of 2 million points, of 24 and of 100,000."""
    source = np.random.default_rng(1)
    lats, lons = source.uniform(-60, 70, ROWS), source.uniform(-180, 180, ROWS)

    def seconds(cities: Places) -> float:
        times = []
        for _ in range(rounds):
            started = time.monotonic()
            cities.nearest(lats, lons)
            times.append(time.monotonic() - started)
        return statistics.median(times)

    folder = Path(__file__).parents[2] / "shop_streams" / "defs" / "community"
    few = load_cities(str(folder / "geo.csv"))
    many = Places(np.arange(CITIES), source.uniform(-60, 70, CITIES), source.uniform(-180, 180, CITIES))
    ours, base = seconds(many), seconds(few)
    return [
        "nearest of 100,000 cities, 2 M points",
        f"{ours:.1f} s",
        f"of 24 cities {base:.1f} s",
        f"{ours / base:.1f} x",
        "3 x",
    ]


def increment(rounds: int) -> list[str]:
    """A day's chain, from its files to its marts, after 35 dates and after 180."""
    with alone() as stack:
        day = FIRST + timedelta(days=35)

        def day_seconds() -> float:
            times = []
            for _ in range(rounds):
                started = time.monotonic()
                stack.run_job("__ASSET_JOB", *map(asset_key, BY_DATE), partition=day.isoformat(), seconds=600)
                times.append(time.monotonic() - started)
            return statistics.median(times)

        community.days_of(stack.settings, A_DAY * 36, 1, FIRST, 36, users=A_DAY)
        load(stack)
        short = day_seconds()
        community.days_of(stack.settings, A_DAY * 144, 2, FIRST - timedelta(days=144), 144, users=A_DAY)
        load(stack)
        long = day_seconds()
        ratio = f"{long / short:.2f} x"
        return ["community: a day after 180 dates", f"{long:.0f} s", f"after 36 dates {short:.0f} s", ratio, "1.3 x"]


def bench_community(rounds: int) -> list[list[str]]:
    """All of them, each with its own stack."""
    parts: tuple[Callable[[], list[str]], ...] = (
        lambda: many_cities(rounds),
        against_duckdb,
        growth,
        lambda: increment(rounds),
    )
    found = []
    for part in parts:
        found.append(part())
        console.print(found[-1])
    return found
