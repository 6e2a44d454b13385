"""What all domains share in the graph: the Spark resource, the dead letters, and the schedule of the checks."""

from __future__ import annotations

import dagster as dg

from shop_streams.defs.app_events.streams import INGEST as APP_EVENTS_INGEST
from shop_streams.defs.sales.streams import INGEST as SHOP_EVENTS_INGEST
from shop_streams.lake.asset import asset_key, column_schema
from shop_streams.spark import SparkConnect
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.spec import stream_key

LAKE_STREAMS = (APP_EVENTS_INGEST, SHOP_EVENTS_INGEST)

dead_letters = dg.AssetSpec(
    asset_key(DEAD_LETTERS),
    description=DEAD_LETTERS.rows_are,
    group_name="streams",
    kinds={"delta"},
    deps=[stream_key(stream) for stream in LAKE_STREAMS],
    owners=["team:data-platform"],
    metadata={"dagster/column_schema": column_schema(DEAD_LETTERS)},
)

all_checks_job = dg.define_asset_job(
    "all_checks",
    selection=dg.AssetSelection.all_asset_checks(),
    description="Runs every check of every table: accounting, lag, parity, rows in = rows out.",
)

all_checks_schedule = dg.ScheduleDefinition(
    name="all_checks_every_quarter_hour",
    job=all_checks_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

definitions = dg.Definitions(
    assets=[dead_letters],
    jobs=[all_checks_job],
    schedules=[all_checks_schedule],
    resources={"spark": SparkConnect()},
)
