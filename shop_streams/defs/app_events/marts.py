"""The enriched events: 3-hour windows, computed when a window closes and again when late rows arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.app_events.partitions import windows
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.app_events.transforms import enrich, without_repeats
from shop_streams.defs.app_events.window_files import count_windows
from shop_streams.lake.reader import Lake
from shop_streams.marts.sources import LakeSource
from shop_streams.marts.spec import Computation, Mart
from shop_streams.marts.version import rows_of, version_of
from shop_streams.streaming.accounting import REPEAT_HORIZON

DAY = timedelta(days=1)


def partition_rows(events: DataFrame, computation: Computation) -> DataFrame:
    """The rows of one window: each event_id once, and none that came in the 7 days before."""
    start, end = windows.time_window_for_partition_key(computation.key)
    days = F.col("event_date").between((start - REPEAT_HORIZON).date(), start.date())
    window = events.where(F.col("event_date") == start.date()).where(
        (F.col("event_time") >= start) & (F.col("event_time") < end)
    )
    earlier = events.where(days).where(F.col("event_time") < start)
    return enrich(without_repeats(window, earlier)).withColumn("window", F.lit(computation.key))


def day_of(window: str) -> str:
    """The day in a window's key."""
    return window[: len("2026-01-01")]


def window_rows(lake: Lake, snapshot: int, days: Mapping[str, int], recorded: Mapping[str, int]) -> dict[str, int]:
    """The number of events in each window at a version of the table, repeats included.

    A day is counted only if its number of rows (`days`, from the Delta log) is not the sum of its computed windows
    (`recorded` source versions).
    """
    covered: Counter[str] = Counter()
    for window, version in recorded.items():
        covered[day_of(window)] += rows_of(version)
    unsettled = {day for day in days.keys() | covered.keys() if days.get(day, 0) != covered[day]}
    counts = {window: rows_of(version) for window, version in recorded.items() if day_of(window) not in unsettled}
    if unsettled:
        counts |= count_windows(lake, snapshot, unsettled)
    return counts


def window_versions(rows: Mapping[str, int], days: Mapping[str, int], recorded: Mapping[str, int]) -> dict[str, int]:
    """The source version of each window: its number of rows, and a checksum of the number of rows in the 7 days before.

    The earlier rows decide which of the window's rows are repeats. An earlier version of this code recorded the number
    of rows alone: a window with that version stays valid until its own rows change. The 1 makes the checksum differ
    from that.
    """
    versions, same_day = {}, Counter[str]()
    for window, count in sorted(rows.items()):
        day = date.fromisoformat(day_of(window))
        earlier = sum(days.get(str(day - number * DAY), 0) for number in range(1, REPEAT_HORIZON // DAY + 1))
        old = recorded.get(window) == count
        versions[window] = count if old else version_of(count, 1, earlier + same_day[day_of(window)])
        same_day[day_of(window)] += count
    return versions


def versions_of(lake: Lake, snapshot: int) -> dict[str, int]:
    """`window_versions` at a version of the table of events."""
    recorded, days = lake.source_versions(ENRICHED), lake.row_counts(EVENTS, snapshot)
    return window_versions(window_rows(lake, snapshot, days, recorded), days, recorded)


MART = Mart(
    table=ENRICHED,
    source=LakeSource(EVENTS, versions_of),
    partitions=windows,
    rows=partition_rows,
    wait_until_closed=True,
)
