"""The enriched events: 3-hour windows, computed when a window closes and again when late rows arrive."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.app_events.partitions import window_key, window_start, windows
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.app_events.transforms import enrich, without_repeats
from shop_streams.lake import reader
from shop_streams.marts.spec import Mart
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import REPEAT_HORIZON

WINDOW = timedelta(hours=3)


def partition_rows(events: DataFrame, key: str) -> DataFrame:
    """The rows of one window."""
    start = window_start(key)
    days = F.col("event_date").between((start - REPEAT_HORIZON).date(), start.date())
    window = events.where(F.col("event_date") == start.date()).where(
        F.col("event_time").between(start, start + WINDOW - timedelta(microseconds=1))
    )
    earlier = events.where(days).where(F.col("event_time") < start)
    return enrich(without_repeats(window, earlier)).withColumn("window", F.lit(key))


def source_rows_by_window(settings: Settings, version: int | None = None) -> dict[str, int]:
    """Rows of each 3-hour window of the events, repeats included, at a version of the table or now.

    Only days whose rows, by the Delta log, are not all accounted for by computed windows are read.
    """
    recorded = reader.source_versions(ENRICHED.uri(settings), "window")
    by_day: Counter[str] = Counter()
    for window, rows in recorded.items():
        by_day[str(window_start(window).date())] += rows
    days = reader.row_counts(EVENTS.uri(settings), "event_date", version)
    unsettled = [date.fromisoformat(day) for day, rows in days.items() if rows != by_day[day]]
    counts = {window: rows for window, rows in recorded.items() if window_start(window).date() not in unsettled}
    if unsettled:
        where = pc.field("event_date").isin(unsettled)
        times = reader.scan(EVENTS.uri(settings), ["event_time"], where, version)
        floors = pc.floor_temporal(times["event_time"], multiple=3, unit="hour")
        counts |= {window_key(entry["values"]): entry["counts"] for entry in pc.value_counts(floors).to_pylist()}
    return counts


MART = Mart(
    table=ENRICHED,
    source=EVENTS,
    partitions=windows,
    rows=partition_rows,
    source_rows=source_rows_by_window,
    wait_until_closed=True,
)
