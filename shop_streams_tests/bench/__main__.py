"""`make bench`: each speed as a ratio against a baseline measured in the same run, medians of several rounds.

    make bench                      all of it but flink and years
    make bench ARGS="ingest"        one part: start, collector, api, mart, items, promotions, ingest, aggregate, restart, community, flink or years
    make bench ARGS="--rounds 5"

Machines differ and drift, so absolute figures are only shown beside their baseline's.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from shop_streams.local import stack
from shop_streams.settings import get_settings
from shop_streams.spark import open_session
from shop_streams_tests.bench.api import bench_api
from shop_streams_tests.bench.collector import bench_collector, resting
from shop_streams_tests.bench.community import bench_community
from shop_streams_tests.bench.flink import bench_flink
from shop_streams_tests.bench.items import bench_items
from shop_streams_tests.bench.mart import bench_mart
from shop_streams_tests.bench.promotions import bench_promotions
from shop_streams_tests.bench.restart import bench_restart
from shop_streams_tests.bench.streams import bench_aggregate, bench_ingest
from shop_streams_tests.bench.traffic import console
from shop_streams_tests.bench.years import bench_years
from shop_streams_tests.harness import PORTS, free_ports

PARTS = ("start", "collector", "api", "mart", "items", "promotions", "ingest", "aggregate", "restart", "community")
ASKED_FOR = ("flink", "years")  # install another 850 MB, and write 20 GB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", choices=[[], *PARTS, *ASKED_FOR], default=[], help="default: all but flink and years"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=2_000_000)
    options = parser.parse_args()
    parts = options.parts or PARTS
    results = on_one_stack(parts, options) if {*parts} - {"community", "years"} else []
    if "community" in parts:  # each of its parts has a stack of its own
        results += bench_community(options.rounds)
    if "years" in parts:
        results += bench_years(options.rounds)
    table = Table("what", "measured (median)", "baseline of the same run", "ratio", "aim")
    for row in results:
        table.add_row(*row)
    console.print(table)


def on_one_stack(parts: Sequence[str], options: argparse.Namespace) -> list[list[str]]:
    """The parts that share a stack."""
    home = Path(tempfile.mkdtemp(prefix="shop-streams-bench-"))
    os.environ["SHOP_STREAMS_HOME"] = str(home)
    for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
        os.environ[f"SHOP_STREAMS_{name.upper()}_PORT"] = str(port)
    os.environ["SHOP_STREAMS_INGEST_INTERVAL_SECONDS"] = "5"
    settings = get_settings()
    results: list[list[str]] = []
    try:
        started = time.monotonic()
        stack.up(settings, console)
        first = time.monotonic() - started
        if "start" in parts:
            results.append(["make up, first start", f"{first:.0f} s", "", "", "60 s"])
        if "collector" in parts:
            with resting(settings):
                results += bench_collector(settings, home, options.rounds)
        if "api" in parts:
            with resting(settings):
                results += bench_api(settings, options.rounds)
        if "mart" in parts:
            results.append(bench_mart(settings, options.rounds))
        if "items" in parts:
            results += bench_items(settings, options.rounds)
        if "promotions" in parts:
            results += bench_promotions(settings)
        spark = open_session(settings)
        if "ingest" in parts:
            results.append(bench_ingest(spark, settings, options.events, options.rounds))
        if "aggregate" in parts:
            results.append(bench_aggregate(spark, settings, options.events, options.rounds))
        if "flink" in parts:
            results.append(bench_flink(spark, settings, options.events, options.rounds))
        spark.stop()  # a session that outlives its server is called for minutes at the process's exit
        if "restart" in parts:
            results.append(bench_restart(settings, options.rounds))
    finally:
        stack.down(settings)
        shutil.rmtree(home, ignore_errors=True)
    return results


if __name__ == "__main__":
    main()
