"""One periodic piece of work in a process of its own: `python -m shop_streams_tests.bench.years_part tick sales_hourly_metrics`.

It prints a JSON object: seconds, processor seconds, and the most memory beyond what the process had before, MB.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.compute as pc

from shop_streams.cli.status import collect
from shop_streams.defs.app_events.checks import distinct_events, no_null_user
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.app_events.streams import INGEST
from shop_streams.defs.domains import DOMAINS
from shop_streams.defs.platform import accounting as accounts
from shop_streams.defs.sales.checks import parity_with_stream
from shop_streams.lake import reader
from shop_streams.lake.reader import Lake
from shop_streams.local.stopping import instance_of
from shop_streams.marts.compare import due_now
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming import accounting
from shop_streams.streaming.ranges import Ranges

Work = Callable[[Settings, str], Any]


def tick(settings: Settings, mart: str) -> int:
    """The comparison of a mart's repair sensor; the number of partitions that are due."""
    (found,) = [one for domain in DOMAINS for one in domain.marts if one.name == mart]
    with instance_of(settings) as instance:
        return len(due_now(found, Lake(settings), instance, time.time()).partitions)


def last_offsets(settings: Settings, count: int) -> Ranges:
    """The last `count` offsets of each partition of the table of events, by the Delta log."""
    table = reader.open_table(EVENTS.uri(settings))
    assert table is not None
    end = pc.max(reader.file_actions(table)["max.kafka_offset"]).as_py() + 1
    return dict.fromkeys((0, 1), (end - count, end))


@contextmanager
def topic_of(ranges: Ranges) -> Iterator[None]:
    """A made-up topic that holds what the table has, all of it read, and whose last hours are these ranges."""
    ends = {number: end for number, (_, end) in ranges.items()}
    firsts = {number: first for number, (first, _) in ranges.items()}
    topic = {number: (0, end) for number, end in ends.items()}
    with (
        patch.object(accounting, "metadata_without_spark", lambda *_: None),
        patch.object(accounting, "offset_ranges", lambda *_: topic),
        patch.object(accounting, "committed_offsets", lambda *_: ends),
        patch.object(accounting, "held_offsets", lambda *_: {}),
        patch.object(accounting, "offsets_at", lambda *_: [firsts]),
        patch.object(accounts, "count_with_header", lambda *_: 0),
    ):
        yield


def hour(settings: Settings, rate: str) -> dict[str, Any]:
    """The account of the last hour of `rate` events a second."""
    ranges = last_offsets(settings, round(float(rate) * 3600 / 2))
    with topic_of(ranges):
        found = accounts.hour_account(INGEST, settings, ranges)
    if not found["exact"] or found["duplicates"] or not found["rows"]:
        raise SystemExit(f"the account is wrong: {found}")
    return found


def day(settings: Settings, rate: str) -> dict[str, Any]:
    """The account of the last 24 hours, of one topic: what `status` and the check `accounting` show."""
    with topic_of(last_offsets(settings, round(float(rate) * 86_400 / 2))):
        found = accounting.recent_account(INGEST, settings)
    if not found.exact or not found.sums["rows"]:
        raise SystemExit(f"the account is wrong: {found}")
    return found.sums


def window(settings: Settings, _word: str) -> int:
    """What the check rows_in_equal_rows_out counts for one new window, of the newest day with all rows."""
    lake = Lake(settings)
    return distinct_events(lake, lake.version(EVENTS) or 0, sorted(lake.source_versions(ENRICHED))[-9])


def check(settings: Settings, name: str) -> str | None:
    """A check of a mart; its description."""
    found: Any = {"users": no_null_user, "parity": parity_with_stream}[name](lake=Lake(settings))
    if not found.passed:
        raise SystemExit(f"the check is red: {found.description}")
    return str(found.description)


def status(settings: Settings, _word: str) -> int:
    """`status`, without the start of Python."""
    return len(collect(settings))


PARTS: dict[str, Work] = {"tick": tick, "hour": hour, "day": day, "window": window, "check": check, "status": status}


def memory(name: str) -> int:
    """VmRSS or VmHWM of this process, MB."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) // 1024


def measured(work: Work, settings: Settings, word: str) -> dict[str, Any]:
    """What the work took, and what it returned."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before, began, cpu = memory("VmRSS"), time.monotonic(), time.process_time()
    found = work(settings, word)
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "mb": max(0, memory("VmHWM") - before),
        "found": found,
    }


if __name__ == "__main__":
    print(json.dumps(measured(PARTS[sys.argv[1]], get_settings(), sys.argv[2])))
