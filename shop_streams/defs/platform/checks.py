"""The job that runs all checks, and its schedule."""

import dagster as dg

from shop_streams.defs.domains import LAKE_STREAMS, STREAMS
from shop_streams.settings import Settings
from shop_streams.streaming.checks import stream_checks
from shop_streams.streaming.lease import Leases
from shop_streams.streaming.priority import streams_first_now
from shop_streams.streaming.spec import accounting_key

all_checks_job = dg.define_asset_job(
    "all_checks",
    # `sum_is_exact` runs with each account.
    selection=dg.AssetSelection.all_asset_checks()
    - dg.AssetSelection.checks_for_assets(*[accounting_key(spec.topic) for spec in LAKE_STREAMS]),
    description="Runs every check of every table: accounting, lag, parity, rows in = rows out.",
)


@dg.schedule(
    name="all_checks_every_quarter_hour",
    job=all_checks_job,
    cron_schedule="*/15 * * * *",
    description="Runs all checks every 15 minutes, except those that a running stream evaluates itself.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def all_checks_schedule(
    context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.RunRequest | dg.SkipReason:
    if wait := streams_first_now(context, settings):
        return dg.SkipReason(wait)
    leases = Leases(settings.postgres).read()
    running = [spec for spec in STREAMS if spec.name in leases and leases[spec.name].fresh(settings.lease_seconds)]
    by_streams = {check.key for spec in running for check in stream_checks(spec)}
    graph = context.repository_def.asset_graph
    return dg.RunRequest(asset_check_keys=sorted(all_checks_job.selection.resolve_checks(graph) - by_streams))


definitions = dg.Definitions(jobs=[all_checks_job], schedules=[all_checks_schedule])
