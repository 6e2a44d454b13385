"""The daily mart of hourly metrics, recomputed when its day changed."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.automation import Mart, build_repair_sensor
from shop_streams.defs.metadata import partition_metadata
from shop_streams.defs.partitions import sales_days
from shop_streams.defs.sales import streams
from shop_streams.defs.sales.aggregate import OFFSET_NOTE
from shop_streams.defs.sales.checks import build_checks
from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS
from shop_streams.defs.sales.transforms import hourly_metrics as metrics_by_hour
from shop_streams.lake import log
from shop_streams.lake.asset import asset_key, column_schema
from shop_streams.lake.write import overwrite_partition
from shop_streams.settings import Settings, get_settings
from shop_streams.spark import SparkConnect
from shop_streams.streaming.checkpoint import CheckpointNotes

DAY = timedelta(days=1)
CLOSING_GRACE_SECONDS = 120.0


def day_metrics(events: DataFrame, day: date, offset_seconds: int) -> DataFrame:
    """The hours that begin on `day`. With windows off the clock hour, the last one reaches into the next day."""
    days = (day, day + DAY) if offset_seconds else (day,)
    unique = F.count_distinct("uid").alias("unique_visitors")
    return (
        metrics_by_hour(events.where(F.col("event_date").isin(*days)), offset_seconds, unique)
        .withColumn("event_date", F.to_date(F.timestamp_seconds("start_ts")))
        .where(F.col("event_date") == day)
    )


@dg.asset(
    key=asset_key(HOURLY),
    deps=[asset_key(SHOP_EVENTS)],
    partitions_def=sales_days,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="sales",
    kinds={"spark", "delta"},
    owners=["team:sales-analytics"],
    pool="sales_hourly_metrics",
    description=HOURLY.rows_are,
    metadata={"dagster/column_schema": column_schema(HOURLY)},
)
def hourly_metrics(context: dg.AssetExecutionContext, spark: SparkConnect) -> None:
    settings = get_settings()
    session = spark.spark_session
    version = log.version(SHOP_EVENTS.uri(settings))  # one snapshot for the rows and for their number
    events = SHOP_EVENTS.read(session, settings, version)
    counts = source_rows_by_day(settings, version)
    offset = int(CheckpointNotes(session, streams.HOURLY.checkpoint(settings)).find(OFFSET_NOTE) or 0)
    for key in context.partition_keys:
        rows = day_metrics(events, date.fromisoformat(key), offset)
        rows = rows.withColumn("source_rows", F.lit(counts.get(key, 0)).cast("bigint"))
        rows = rows.coalesce(1).sortWithinPartitions("start_ts")  # 24 rows: one file, in reading order
        overwrite_partition(rows, HOURLY, settings, f"event_date = '{key}'")
        totals = day_totals(settings, key)
        metadata = partition_metadata(HOURLY, settings, "event_date", key)
        context.add_asset_metadata({**totals, "source_rows": counts.get(key, 0), **metadata}, partition_key=key)


def day_totals(settings: Settings, key: str) -> dict[str, float]:
    """The day's numbers, which plot themselves over the partitions in the UI."""
    delta = log.scan(HOURLY.uri(settings), ["event_date", "revenue", "visitors", "purchases"])
    hours = [row for row in delta.to_pylist() if str(row["event_date"]) == key]
    return {name: sum(row[name] for row in hours) for name in ("revenue", "visitors", "purchases")}


def source_rows_by_day(settings: Settings, version: int | None = None) -> dict[str, int]:
    """The version of each day: its rows; with windows off the clock hour, the next day's too, since its last hour needs them."""
    counts = log.row_counts(SHOP_EVENTS.uri(settings), "event_date", version)
    if settings.sales_window_anchor == "hour":
        return counts
    before = {key: str(date.fromisoformat(key) - DAY) for key in counts}
    days = counts.keys() | before.values()
    return {day: counts.get(day, 0) + counts.get(str(date.fromisoformat(day) + DAY), 0) for day in sorted(days)}


def _is_live(key: str, now: float) -> bool:
    end = datetime.combine(date.fromisoformat(key) + DAY, datetime.min.time(), UTC)
    return now < end.timestamp() + CLOSING_GRACE_SECONDS


MART = Mart(
    hourly_metrics,
    current=source_rows_by_day,
    recorded=lambda settings: log.recorded_versions(HOURLY.uri(settings), "event_date"),
    live=_is_live,
)

definitions = dg.Definitions(
    assets=[hourly_metrics],
    asset_checks=build_checks(source_rows_by_day),
    sensors=[build_repair_sensor(MART)],
)
