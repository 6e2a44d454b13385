"""What all domains share: the Spark resource, and the schedule of the checks."""

from __future__ import annotations

import dagster as dg

from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.streaming.spec import accounting_key

all_checks_job = dg.define_asset_job(
    "all_checks",
    # The accounts have a check of their own, which runs with each of their hours.
    selection=dg.AssetSelection.all_asset_checks()
    - dg.AssetSelection.checks_for_assets(*[accounting_key(spec.topic) for spec in LAKE_STREAMS]),
    description="Runs every check of every table: accounting, lag, parity, rows in = rows out.",
)

all_checks_schedule = dg.ScheduleDefinition(
    name="all_checks_every_quarter_hour",
    job=all_checks_job,
    cron_schedule="*/15 * * * *",
    description="Runs every check of every table, each quarter of an hour.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

definitions = dg.Definitions(
    jobs=[all_checks_job],
    schedules=[all_checks_schedule],
)
