"""The age limit of Dagster's run history. To delete a run deletes its events, and with them what Dagster knows of partitions.

So a run is kept as long as it holds the newest materialization of an asset or of a partition: the partition's state, and the
source version of a partition without rows (marts/history.py), are read from there. A run of a stream has a report each minute; of
these, only the newest stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import text

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
AT_ONCE = 500  # runs or events of one query
A_NIGHT = 20_000  # runs: a history of years is deleted in some nights
REPORTS_AT_ONCE = 20_000  # events of one statement: a database may end long ones
REPORTS_A_NIGHT = 1_000_000
# Dagster has no call for these.
REPORTS = """
with old as (
    delete from event_logs where id in (
        select e.id from event_logs e
         where e.timestamp < :before and e.dagster_event_type in ('ASSET_MATERIALIZATION', 'ASSET_CHECK_EVALUATION')
           and not exists (select from unnest(cast(:newest as bigint[])) as newest (id) where newest.id = e.id)
           and not exists (select from asset_check_executions c where c.evaluation_event_storage_id = e.id)
         limit :some)
    returning id
), tags as (
    delete from asset_event_tags t using old where t.event_id = old.id
)
select count(*) from old
"""
RESULTS = """
delete from asset_check_executions c
 where c.create_timestamp < :before
   and exists (select from asset_check_executions later
                where later.asset_key = c.asset_key and later.check_name = c.check_name
                  and later.partition is not distinct from c.partition and later.id > c.id)
"""


@dataclass(frozen=True)
class Forgotten:
    """The number of old runs that were deleted, and of those that were kept for their newest materializations."""

    runs_deleted: int
    runs_kept: int


def newest_materializations(instance: dg.DagsterInstance) -> dict[int, str]:
    """The newest materialization of each asset and of each of its partitions: storage id -> run id."""
    found: dict[int, str] = {}
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    for key in instance.get_asset_keys():
        found |= {one.storage_id: one.run_id for one in instance.fetch_materializations(key, limit=1).records}
        newest = sorted(instance.event_log_storage.get_latest_storage_id_by_partition(key, kind).values())
        for begin in range(0, len(newest), AT_ONCE):
            wanted = dg.AssetRecordsFilter(key, storage_ids=newest[begin : begin + AT_ONCE])
            records = instance.fetch_materializations(wanted, limit=AT_ONCE).records
            found |= {one.storage_id: one.run_id for one in records}
    return found


def forget_runs(instance: dg.DagsterInstance, before: datetime) -> Forgotten:
    """Delete the runs that ended before this moment, the oldest first, at most `A_NIGHT`, and none with a newest materialization.

    A run that ends meanwhile can only make more of them superfluous: these are deleted the next night.
    """
    newest, kept, cursor = set(newest_materializations(instance).values()), 0, None
    old, due = dg.RunsFilter(statuses=FINISHED, created_before=before), list[str]()
    # All are listed before the first is deleted: a deleted run is no cursor.
    while len(due) < A_NIGHT and (page := instance.get_run_records(old, limit=AT_ONCE, cursor=cursor, ascending=True)):
        cursor = page[-1].dagster_run.run_id
        ended = [one.dagster_run.run_id for one in page if (one.end_time or 0.0) < before.timestamp()]
        kept += sum(run_id in newest for run_id in ended)
        due += [run_id for run_id in ended if run_id not in newest]
    due = due[:A_NIGHT]
    for run_id in due:
        instance.delete_run(run_id)
    return Forgotten(len(due), kept)


def forget_reports(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete superseded materializations and check results from before this moment, also of runs that are kept.

    At most `REPORTS_A_NIGHT`. Returns the number of deleted events. Nothing is deleted from a storage that is not PostgreSQL.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return 0
    moment = before.astimezone(UTC).replace(tzinfo=None)  # as Dagster writes it
    values = {"before": moment, "newest": list(newest_materializations(instance)), "some": REPORTS_AT_ONCE}
    deleted = 0
    with storage.index_connection() as connection:  # each statement is a transaction
        connection.execute(text(RESULTS), {"before": moment})
        while deleted < REPORTS_A_NIGHT:
            piece = int(connection.execute(text(REPORTS), values).scalar_one())
            deleted += piece
            if piece < REPORTS_AT_ONCE:
                break
    return deleted
