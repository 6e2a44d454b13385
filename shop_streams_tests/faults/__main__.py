"""`make faults`: traffic under a seeded plan of faults, and an independent oracle at the end.

    make faults DURATION=900 SEED=1
    python -m shop_streams_tests.faults --only hang "kill spark"

Kills with -9 in turn the collector, the broker, PostgreSQL, Spark's server, a stream's run, Dagster's daemon and its
code server; takes the broker and PostgreSQL away for two minutes; stops (SIGSTOP) Spark's server, the broker and a worker
of Spark for longer than the limits; pauses a stream's run until it has lost its lease, and deletes another in Dagster; stops and starts the stack in the ordinary way; opens silent connections to the collector;
aborts a Kafka transaction; and fills the disk of the home folder (as root only: the home is then a small disk of its own
in memory). Exit status 0: nothing lost, nothing twice, nothing else than promised.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shop_streams.cli.status import STREAMS
from shop_streams.settings import Settings
from shop_streams_tests.faults.plan import chosen, faults
from shop_streams_tests.faults.run import Report, run_faults
from shop_streams_tests.harness import running_stack

DISK_SIZE = "3g"
console = Console()


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A folder that is a disk of its own, or None where we may not mount one."""
    folder = Path(tempfile.mkdtemp(prefix="shop-streams-faults-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE},mode=755", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def show(report: Report, seed: int) -> None:
    """A table of the faults, and the verdict."""
    table = Table("fault", "times", "recovery, median", "longest", title=f"seed {seed}")
    for name in sorted({str(fault) for fault, _ in report.recoveries}):
        times = [took for fault, took in report.recoveries if str(fault) == name]
        table.add_row(name, str(len(times)), f"{statistics.median(times):.1f} s", f"{max(times):.1f} s")
    console.print(table)
    for difference in report.differences:
        console.print(f"[red]✗[/] {difference}", highlight=False)
    if not report.differences:
        console.print(
            f"[green]✓[/] {report.tracked} tracked events, {report.sales} sales, {report.clicks} clicks, {report.broken} broken records and "
            f"{report.notifications} notifications of {report.campaigns} campaigns: 0 lost, 0 twice; every mart and the topic "
            "equal DuckDB", highlight=False,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=300, help="seconds of faults (default: 300)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same plan (default: 1)")
    parser.add_argument("--only", nargs="+", metavar="FAULT", help="kinds, or kinds with targets (default: all)")
    options = parser.parse_args()
    with small_disk() as disk:
        if disk is None:
            console.print("No disk of our own can be mounted here: fill_disk is left out.")
        home = {"HOME": str(disk)} if disk else {}
        usual = {"MART_REPAIR_SECONDS": str(Settings.model_fields["mart_repair_seconds"].default)}
        console.print(f"Seed {options.seed}, {options.duration:.0f} s.")
        with running_stack(STALL_SECONDS="40", RUN_HOURS="0.1", **home, **usual) as stack:
            deadline = time.monotonic() + options.duration
            report = run_faults(
                stack,
                options.seed,
                chosen(faults(options.seed, STREAMS, disk is not None), options.only),
                lambda line: console.print(f"{time.strftime('%H:%M:%S')} {line}", highlight=False),
                lambda: time.monotonic() < deadline,
            )
    show(report, options.seed)
    sys.exit(1 if report.differences else 0)


if __name__ == "__main__":
    main()
