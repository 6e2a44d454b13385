"""The enriched events: 3-hour windows, computed when a window closes and again when late rows arrive."""

from collections import Counter
from datetime import timedelta

import dagster as dg
import pyarrow.compute as pc
from pyspark.sql import functions as F

from shop_streams.defs.app_events.checks import build_checks
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.app_events.transforms import enrich, without_repeats
from shop_streams.defs.automation import Mart, build_repair_sensor
from shop_streams.defs.metadata import partition_metadata
from shop_streams.defs.partitions import app_events_windows, window_key, window_start
from shop_streams.lake import log
from shop_streams.lake.asset import asset_key, column_schema
from shop_streams.lake.write import overwrite_partition
from shop_streams.settings import Settings, get_settings
from shop_streams.spark import SparkConnect

WINDOW = timedelta(hours=3)
REPEAT_HORIZON = timedelta(days=7)  # a client retries within minutes; a week costs one column of a few partitions
CLOSING_GRACE_SECONDS = 120.0  # the stream's interval and a batch: a window's last events are in the table by then


@dg.asset(
    key=asset_key(ENRICHED),
    deps=[asset_key(EVENTS)],
    partitions_def=app_events_windows,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="app_events",
    kinds={"spark", "delta"},
    owners=["team:product-analytics"],
    pool="app_events_enriched_events",
    description=ENRICHED.rows_are,
    metadata={"dagster/column_schema": column_schema(ENRICHED)},
)
def enriched_events(context: dg.AssetExecutionContext, spark: SparkConnect) -> None:
    settings = get_settings()
    version = log.version(EVENTS.uri(settings))  # one snapshot for the rows and for their number
    events = EVENTS.read(spark.spark_session, settings, version)
    counts = source_rows_by_window(settings, version)
    for key in context.partition_keys:
        start = window_start(key)
        days = F.col("event_date").between((start - REPEAT_HORIZON).date(), start.date())
        window = events.where(F.col("event_date") == start.date()).where(
            F.col("event_time").between(start, start + WINDOW - timedelta(microseconds=1))
        )
        source_rows = counts.get(key, 0)
        earlier = events.where(days).where(F.col("event_time") < start)
        rows = enrich(without_repeats(window, earlier)).withColumns(
            {"window": F.lit(key), "source_rows": F.lit(source_rows).cast("bigint")}
        )
        overwrite_partition(rows, ENRICHED, settings, f"window = '{key}'")
        metadata = partition_metadata(ENRICHED, settings, "window", key)
        context.add_asset_metadata({"source_rows": source_rows, **metadata}, partition_key=key)


def source_rows_by_window(settings: Settings, version: int | None = None) -> dict[str, int]:
    """Rows of each 3-hour window of the events, repeats included, at a version of the table or now."""
    times = log.scan(EVENTS.uri(settings), ["event_time"], version=version)
    if not times.num_columns:
        return {}
    floors = pc.floor_temporal(times["event_time"], multiple=3, unit="hour")
    counts: Counter[str] = Counter()
    for entry in pc.value_counts(floors).to_pylist():
        counts[window_key(entry["values"])] += entry["counts"]
    return dict(counts)


def _is_live(key: str, now: float) -> bool:
    return now < (window_start(key) + WINDOW).timestamp() + CLOSING_GRACE_SECONDS


MART = Mart(
    enriched_events,
    current=source_rows_by_window,
    recorded=lambda settings: log.recorded_versions(ENRICHED.uri(settings), "window"),
    live=_is_live,
    wait_until_closed=True,
)

definitions = dg.Definitions(
    assets=[enriched_events],
    asset_checks=build_checks(),
    sensors=[build_repair_sensor(MART)],
)
