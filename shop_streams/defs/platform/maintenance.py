"""Daily maintenance: files merged and removed, old dead letters and old runs of the checks forgotten. Streams go on meanwhile."""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg

from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.defs.platform.checks import all_checks_job
from shop_streams.kafka import offset_ranges
from shop_streams.lake import maintenance, reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS

READERS_HOURS = 168  # a week: nobody reads a version that is older
RUNS_AT_ONCE = 1000


def closed_days(uri: str, day_column: str) -> list[str]:
    """The days of a table that ended at least a day ago: their ordinary traffic is over."""
    yesterday = str((datetime.fromtimestamp(time.time(), UTC) - timedelta(days=1)).date())
    return [day for day in reader.file_counts(uri, day_column) if day < yesterday]


def forgotten_by_kafka(settings: Settings) -> str:
    """SQL for the dead letters whose records their topics no longer hold: the accounting does not ask for them any more."""
    conditions = [
        f"(topic = '{spec.topic.name}' and kafka_partition = {number} and kafka_offset < {low})"
        for spec in LAKE_STREAMS
        for number, (low, _) in offset_ranges(settings.kafka, spec.topic.name).items()
    ]
    return f"({' or '.join(conditions)})"


@dg.op(description="Merges the small files of closed days, and deletes files that no version of the last week needs.")
def maintain_tables(context: dg.OpExecutionContext) -> None:
    settings = get_settings()
    rows: list[dg.TableRecord] = []
    for spec in LAKE_STREAMS:
        table = spec.sink.table
        assert table is not None
        uri, (day,) = table.uri(settings), table.partition_by
        rows.append(_record(table, maintenance.maintain(uri, day, closed_days(uri, day), READERS_HOURS)))
    uri = DEAD_LETTERS.uri(settings)
    expired = maintenance.expire(uri, "at", settings.dead_letter_days, forgotten_by_kafka(settings))
    domains = list(reader.file_counts(uri, "domain"))
    rows.append(_record(DEAD_LETTERS, maintenance.maintain(uri, "domain", domains, READERS_HOURS)))
    context.add_output_metadata({"tables": dg.MetadataValue.table(rows), "dead_letters_expired": expired})


def _record(table: Table, done: maintenance.FilesMerged) -> dg.TableRecord:
    return dg.TableRecord({"table": table.path, "files_before": done.files_before, "files_after": done.files_after})


@dg.op(description="Deletes old runs of the checks: the results stay short, and nobody looks at last month's.")
def forget_old_checks(context: dg.OpExecutionContext) -> None:
    before = datetime.now(UTC) - timedelta(days=get_settings().history_days)
    old = context.instance.get_run_records(
        dg.RunsFilter(job_name=all_checks_job.name, created_before=before), limit=RUNS_AT_ONCE
    )
    for record in old:
        context.instance.delete_run(record.dagster_run.run_id)
    context.add_output_metadata({"runs_deleted": len(old)})


@dg.job(
    executor_def=dg.in_process_executor,
    description="Daily maintenance of the lake and of the history. Safe at any time.",
)
def daily_maintenance_job() -> None:
    maintain_tables()
    forget_old_checks()


definitions = dg.Definitions(
    jobs=[daily_maintenance_job],
    schedules=[
        dg.ScheduleDefinition(
            name="daily_maintenance",
            job=daily_maintenance_job,
            cron_schedule="30 3 * * *",
            description="Merges small files, deletes old ones and forgets old dead letters, at 03:30 UTC.",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ],
)
