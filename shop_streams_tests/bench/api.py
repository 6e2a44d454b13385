"""The API over a month of half hours, 50 clients, beside the same question asked straight with psycopg2.

`python -m shop_streams_tests.bench.api [--items 10000] [--half-hours 1488]` starts a PostgreSQL of its own.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg2
from rich.table import Table

from shop_streams.api.items import ORDERS, ROWS, USERS
from shop_streams.local.api_role import prepare_api_role
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases
from shop_streams_tests.bench.traffic import console
from shop_streams_tests.harness import answering, free_ports

ITEMS, HALF_HOURS = 10_000, 1488
CLIENTS, SECONDS = 50, 10
SHOPS = 10
AIM = "p99 50 ms"
FILL = """
drop table if exists {name};
create table {name} (ts int, url text, item_id text, count int, {last} float8);
insert into {name}
select %(end)s - 1800 * h, 'shop' || i %% %(shops)s || '.example', 'item-' || i, 1 + (i * 7 + h) %% 40, 1 + (i + h) %% 90 / 7.0
  from generate_series(0, %(half_hours)s - 1) h, generate_series(1, %(items)s) i;
alter table {name} add primary key (ts, url, item_id);
analyze {name};
"""


def fill(settings: Settings, items: int, half_hours: int) -> None:
    """Every item has views in every half hour of the month, and a tenth of them orders."""
    end = int(time.time()) // 1800 * 1800
    for name, last, share in (("users", "deep", 1), ("orders", "sum", 10)):
        values = {"end": end, "shops": SHOPS, "half_hours": half_hours, "items": items // share}
        with transaction(settings.postgres) as cursor:
            cursor.execute(FILL.format(name=name, last=last), values)


@contextmanager
def running_api(settings: Settings) -> Iterator[str]:
    """The address of an API of its own over this database."""
    settings = settings.model_copy(update={"api_port": free_ports(1)[0], "api_query_seconds": 60})
    command = [sys.executable, "-m", "shop_streams.api"]
    with answering(command, settings.environment(), f"{settings.api_url}/healthz", stdout=subprocess.DEVNULL):
        yield settings.api_url


def wrk(url: str, folder: Path) -> tuple[float, float, float]:
    """Requests a second, the median and the 99th percentile in ms."""
    script = folder / "get.lua"
    script.write_text(
        'done=function(s,l,r) io.write(string.format("RESULT %f %f %f %d\\n", s.requests/s.duration*1e6, '
        "l:percentile(50)/1000, l:percentile(99)/1000, s.errors.status + s.errors.timeout)) end\n"
    )
    answer = subprocess.run(
        ["wrk", "-t1", f"-c{CLIENTS}", f"-d{SECONDS}s", "--timeout", "30s", "-s", str(script), url], capture_output=True, text=True, check=True
    )  # fmt: skip
    rate, median, p99, errors = next(line for line in answer.stdout.splitlines() if line.startswith("RESULT")).split()[
        1:
    ]
    if int(errors):
        raise SystemExit(f"{errors} requests were not answered with 200")
    return float(rate), float(median), float(p99)


@contextmanager
def replacing_a_half_hour(settings: Settings) -> Iterator[None]:
    """Replace the newest half hour's rows each second, 1,800 times as often as it happens."""
    over = threading.Event()

    def replace() -> None:
        while not over.wait(1):
            with transaction(settings.postgres) as cursor:
                cursor.execute(
                    "create temporary table newest on commit drop as select * from users where ts = (select max(ts) from users)"
                )
                cursor.execute(
                    "delete from users where ts = (select max(ts) from users); insert into users select * from newest"
                )

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def straight(settings: Settings, since: int, **parameters: str | int | None) -> list[float]:
    """Milliseconds of each of 30 questions, one after the other on one connection, rows as psycopg2 makes them."""
    values = {"since": since, "url": None, "limit": None, "offset": 0} | parameters
    times = []
    connection = psycopg2.connect(settings.api_postgres)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for _ in range(30):
            started = time.perf_counter()
            cursor.execute(ROWS.format(name=USERS.name, summed=USERS.summed), values)
            cursor.fetchall()
            times.append((time.perf_counter() - started) * 1000)
    connection.close()
    return times


def bench_api(settings: Settings, rounds: int, items: int = ITEMS, half_hours: int = HALF_HOURS) -> list[list[str]]:
    """Measure over the database of `settings`, which has no tables of clickstream in use."""
    if shutil.which("wrk") is None:
        return [["API", "not measured: wrk is missing (Debian: apt-get install wrk)", "", "", ""]]
    with console.status("filling a month …"):
        fill(settings, items, half_hours)
    results = []
    last_hour = int(time.time()) - 3600
    questions: tuple[tuple[str, str, dict[str, str | int]], ...] = (
        ("the last hour", "users", {}),
        ("the last hour, limit=100", "users?limit=100", {"limit": 100}),
        ("the last hour of one shop", "users?url=shop3.example", {"url": "shop3.example"}),
    )
    with running_api(settings) as url, tempfile.TemporaryDirectory() as folder:

        def measured(what: str, path: str, **parameters: str | int) -> None:
            base = straight(settings, last_hour, **parameters)
            found = [wrk(f"{url}/api/v1.0/{path}", Path(folder)) for _ in range(rounds)]
            rate, median, p99 = (statistics.median(one[number] for one in found) for number in range(3))
            alone = 1000 / statistics.median(base)
            ours = f"{rate:,.0f}/s, median {median:.1f} ms, p99 {p99:.1f} ms"
            theirs = f"psycopg2 alone {alone:,.0f}/s, {statistics.median(base):.1f} ms"
            console.print(f"  {what}: {ours}; {theirs}", highlight=False)
            results.append([f"GET {path}: {what}, {CLIENTS} clients", ours, theirs, f"ratio {rate / alone:.1f}", AIM])

        for what, path, parameters in questions:
            measured(what, path, **parameters)
        with replacing_a_half_hour(settings):
            measured("the last hour, while a half hour is replaced each second", "users")
            measured(
                "one shop, while a half hour is replaced each second", "users?url=shop3.example", url="shop3.example"
            )
        for table in (USERS, ORDERS):
            times = []
            for _ in range(2):
                started = time.perf_counter()
                httpx.get(f"{url}/api/v1.0/{table.name}/0", timeout=120, trust_env=False).raise_for_status()
                times.append(time.perf_counter() - started)
            results.append(
                [f"GET {table.name}/0: the whole month", f"{times[0]:.2f} s, again {times[1]:.3f} s", "", "", ""]
            )
    with transaction(settings.postgres) as cursor:
        cursor.execute("drop table users; drop table orders")
    return results


def main() -> None:
    from shop_streams_tests.local.test_database import server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--half-hours", type=int, default=HALF_HOURS)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shop-streams-bench-") as home:
        settings = Settings(home=Path(home), postgres_port=free_ports(1)[0])
        with server(settings):
            prepare_api_role(settings)
            Leases(settings.postgres).create_table()
            rows = bench_api(settings, options.rounds, options.items, options.half_hours)
    table = Table("what", "measured (median)", "baseline of the same run", "ratio", "aim")
    for row in rows:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
