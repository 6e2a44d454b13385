"""Maintenance: merges and deletes files, deletes old dead letters and old runs. Streams keep running."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import dagster as dg

from shop_streams.defs.domains import LAKE_STREAMS, TABLES
from shop_streams.defs.platform.run_history import forget_reports, forget_runs
from shop_streams.kafka import offset_ranges
from shop_streams.lake import maintenance, reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import partition_shift
from shop_streams.streaming.dead_letters import DEAD_LETTERS, stored_columns
from shop_streams.streaming.forgotten import FORGOTTEN
from shop_streams.streaming.gaps import KNOWN_GAPS
from shop_streams.streaming.replayed import REPLAYED

BESIDE = (DEAD_LETTERS, FORGOTTEN, KNOWN_GAPS, REPLAYED)  # tables of no domain
READERS_HOURS = 168  # a week: no reader needs an older version of a table
MANY_FILES = 100  # of one day. A stream with a trigger each 10 s writes 17,000 a day, and readers open all of them.


def closed_partitions(table: Table, settings: Settings) -> list[str]:
    """The partitions to compact: days of a streamed table that ended at least a day ago, and all of the tables that
    have no days.

    None of a mart: each of its partitions is written as a whole.
    """
    uri, column = table.uri(settings), table.partition_by[0]
    if table in BESIDE:
        return list(reader.file_counts(uri, column))
    if table not in [spec.sink.table for spec in LAKE_STREAMS]:
        return []
    yesterday = str((datetime.now(UTC) - timedelta(days=1)).date())  # after a day, only late events arrive
    return [day for day in reader.file_counts(uri, column) if day < yesterday]


def compact_crowded(settings: Settings) -> dict[str, list[str]]:
    """Merge the files of each day of a streamed table that has more than `MANY_FILES`; table -> its days."""
    done = {}
    for spec in LAKE_STREAMS:
        assert spec.sink.table is not None
        uri, column = spec.sink.table.uri(settings), spec.sink.table.partition_by[0]
        crowded = [day for day, files in reader.file_counts(uri, column).items() if files > MANY_FILES]
        if crowded and (found := reader.open_table(uri)) is not None:
            maintenance.compact(found, column, crowded)
            done[spec.sink.table.path] = sorted(crowded)
    return done


def forgotten_by_kafka(settings: Settings) -> str:
    """SQL condition for dead letters that the accounting does not count: their records are no longer in their topics, or they
    are of a delivered file.
    """
    conditions = []
    for spec in LAKE_STREAMS:
        of_topic, shift = f"topic = '{spec.topic.name}'", partition_shift(spec.checkpoint(settings))
        if shift:  # letters of an earlier topic of this name
            conditions.append(f"({of_topic} and kafka_partition < {shift})")
        conditions += [
            f"({of_topic} and kafka_partition = {number + shift} and kafka_offset < {low})"
            for number, (low, _) in offset_ranges(settings.kafka, spec.topic.name).items()
        ]
    if "file" in stored_columns(settings):
        conditions.append("file is not null")
    return f"({' or '.join(conditions)})"


@dg.op(
    description="Merges the small files of streamed tables' closed days, and deletes files that no version of the last week needs."
)
def maintain_tables(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    expired = maintenance.expire(
        DEAD_LETTERS.uri(settings), "at", settings.dead_letter_days, forgotten_by_kafka(settings)
    )
    rows = []
    for table in (*TABLES, *BESIDE):
        closed = closed_partitions(table, settings)
        done = maintenance.maintain(table.uri(settings), table.partition_by[0], closed, READERS_HOURS)
        rows.append(dg.TableRecord({"table": table.path, **asdict(done)}))
    context.add_output_metadata({"tables": dg.MetadataValue.table(rows), "dead_letters_expired": expired})


@dg.op(description="Merges the files of each day of a streamed table that has more than 100, also of the running day.")
def compact_crowded_days(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    context.add_output_metadata({table: ", ".join(days) for table, days in compact_crowded(settings).items()})


@dg.op(
    description="Deletes runs that ended more than HISTORY_DAYS ago, with their events. A run that holds the newest materialization of "
    "an asset or of a partition is kept, without its superseded reports."
)
def forget_old_runs(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    before = datetime.now(UTC) - timedelta(days=settings.history_days)
    done = asdict(forget_runs(context.instance, before))
    reports = forget_reports(context.instance, before)
    context.add_output_metadata(done | {"reports_deleted": reports})


@dg.job(
    executor_def=dg.in_process_executor,
    description="Merges and deletes files of the lake, and deletes old dead letters and old runs. It is safe at any time.",
)
def daily_maintenance() -> None:
    maintain_tables()
    forget_old_runs()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Merges the small files of days with many. It is safe at any time.",
)
def hourly_compaction() -> None:
    compact_crowded_days()


definitions = dg.Definitions(
    jobs=[daily_maintenance, hourly_compaction],
    schedules=[
        dg.ScheduleDefinition(
            name="hourly_compaction_at_ten_to",
            job=hourly_compaction,
            cron_schedule="50 * * * *",
            description="Runs hourly_compaction ten minutes before each hour.",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        ),
        dg.ScheduleDefinition(
            name="daily_maintenance_at_night",
            job=daily_maintenance,
            cron_schedule="30 3 * * *",
            description="Runs daily_maintenance at 03:30 UTC.",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        ),
    ],
)
