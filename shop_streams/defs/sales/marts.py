"""The daily mart of hourly metrics, recomputed when its day changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.sales import streams
from shop_streams.defs.sales.aggregate import OFFSET_NOTE
from shop_streams.defs.sales.partitions import days
from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS
from shop_streams.defs.sales.transforms import hourly_once, with_repeats
from shop_streams.lake import reader
from shop_streams.marts.spec import Mart
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming.accounting import REPEAT_HORIZON
from shop_streams.streaming.checkpoint import CheckpointMetadata

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


def partition_rows(events: DataFrame, key: str) -> DataFrame:
    """The rows of one day, its windows where the stream's checkpoint fixed them."""
    metadata = CheckpointMetadata(events.sparkSession, streams.HOURLY.checkpoint(get_settings()))
    return day_metrics(events, date.fromisoformat(key), int(metadata.find(OFFSET_NOTE) or 0))


def day_totals(settings: Settings, key: str) -> dict[str, int]:
    """The day's numbers, which plot themselves over the partitions in the UI."""
    columns = ("revenue", "visitors", "purchases")
    hours = reader.scan(HOURLY.uri(settings), list(columns), pc.field("event_date") == date.fromisoformat(key))
    return {name: int(pc.sum(hours[name]).as_py() or 0) for name in columns}


def source_rows_by_day(settings: Settings, version: int | None = None) -> dict[str, int]:
    """The version of each day: all that its computation reads, by number.

    Its rows; those with an event_id of the 7 days before, which may make repeats of them; and with windows off the clock
    hour the next day's rows, since its last hour needs them.
    """
    rows = reader.row_counts(SHOP_EVENTS.uri(settings), "event_date", version)
    with_id = reader.value_counts(SHOP_EVENTS.uri(settings), "event_date", "event_id", version)
    return day_versions(rows, with_id, settings.sales_window_anchor == "hour")


def day_versions(rows: Mapping[str, int], with_id: Mapping[str, int], on_the_hour: bool) -> dict[str, int]:
    """`source_rows_by_day` out of each day's rows and of how many of them have an event_id."""

    def around(day: str) -> int:
        here = date.fromisoformat(day)
        before = sum(with_id.get(str(here - number * DAY), 0) for number in range(1, REPEAT_HORIZON // DAY + 1))
        return rows.get(day, 0) + before + (0 if on_the_hour else rows.get(str(here + DAY), 0))

    earlier = set() if on_the_hour else {str(date.fromisoformat(day) - DAY) for day in rows}
    return {day: around(day) for day in sorted(rows.keys() | earlier)}


MART = Mart(
    table=HOURLY,
    source=SHOP_EVENTS,
    partitions=days,
    rows=partition_rows,
    source_rows=source_rows_by_day,
    totals=day_totals,
)
