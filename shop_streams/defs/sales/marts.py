"""The daily mart of hourly metrics. A day is computed again when its source version changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.sales import streams
from shop_streams.defs.sales.aggregate import OFFSET_KEY
from shop_streams.defs.sales.partitions import days
from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS
from shop_streams.defs.sales.transforms import hourly_once, with_repeats
from shop_streams.lake.reader import Lake
from shop_streams.marts.sources import LakeSource
from shop_streams.marts.spec import Computation, Mart
from shop_streams.marts.version import version_of
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import REPEAT_HORIZON
from shop_streams.streaming.checkpoint import metadata_without_spark

DAY = timedelta(days=1)


def day_metrics(events: DataFrame, day: date, offset_seconds: int) -> DataFrame:
    """The hours that begin on `day`. With windows off the clock hour, the last one reaches into the next day."""
    days = (day, day + DAY) if offset_seconds else (day,)
    earlier = events.where(F.col("event_date").between(day - REPEAT_HORIZON, day - DAY))
    return (
        hourly_once(with_repeats(events.where(F.col("event_date").isin(*days)), earlier), offset_seconds)
        .withColumn("event_date", F.to_date(F.timestamp_seconds("start_ts")))
        .where(F.col("event_date") == day)
        .coalesce(1)  # 24 rows: one file, in reading order
        .sortWithinPartitions("start_ts")
    )


def window_offset(settings: Settings) -> int:
    """Seconds after the clock hour at which windows begin, from the stream's checkpoint metadata; 0 before its first start."""
    return int(metadata_without_spark(streams.HOURLY.checkpoint(settings), OFFSET_KEY) or 0)


def partition_rows(events: DataFrame, computation: Computation) -> DataFrame:
    """The rows of one day."""
    return day_metrics(events, date.fromisoformat(computation.key), window_offset(computation.settings))


def day_totals(lake: Lake, key: str) -> dict[str, int]:
    """The day's totals, which the UI plots over the partitions."""
    columns = ("revenue", "visitors", "purchases")
    hours = lake.scan(HOURLY, list(columns), keys=[key])
    return {name: int(pc.sum(hours[name]).as_py() or 0) for name in columns}


def versions_of(lake: Lake, snapshot: int) -> dict[str, int]:
    """`day_versions` at a version of the table of events."""
    with_id = lake.value_counts(SHOP_EVENTS, "event_id", snapshot)
    return day_versions(lake.row_counts(SHOP_EVENTS, snapshot), with_id, window_offset(lake.settings))


def day_versions(rows: Mapping[str, int], with_id: Mapping[str, int], offset_seconds: int) -> dict[str, int]:
    """The source version of each day, from the number of rows of each day (`rows`) and of those with an event_id (`with_id`).

    It counts the day's rows, and the rows with an event_id of the 7 days before, which decide what is a repeat. If
    windows are off the clock hour it also counts the next day's rows, where the last window ends. The checksum covers
    their offset.
    """

    def around(day: str) -> int:
        here = date.fromisoformat(day)
        before = sum(with_id.get(str(here - number * DAY), 0) for number in range(1, REPEAT_HORIZON // DAY + 1))
        return rows.get(day, 0) + before + (rows.get(str(here + DAY), 0) if offset_seconds else 0)

    earlier = {str(date.fromisoformat(day) - DAY) for day in rows} if offset_seconds else set()
    return {day: version_of(around(day), offset_seconds) for day in sorted(rows.keys() | earlier)}


MART = Mart(
    table=HOURLY,
    source=LakeSource(SHOP_EVENTS, versions_of),
    partitions=days,
    rows=partition_rows,
    totals=day_totals,
)
