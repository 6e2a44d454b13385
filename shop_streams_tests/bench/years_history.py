"""Years of Dagster's run history: copies of one run and its events, written to its tables directly."""

from __future__ import annotations

from psycopg2.extensions import cursor

from shop_streams.postgres import transaction
from shop_streams.settings import Settings

SECONDS_APART = 86_400 // 570  # runs of marts a day, as measured

# Column -> its value in a copy; `n.id` is the copy's run, `n.ago` how long before the original it ran.
RUN = {
    "run_id": "n.id",
    "run_body": "replace(t.run_body, t.run_id, n.id)",
    "create_timestamp": "t.create_timestamp - n.ago",
    "update_timestamp": "t.update_timestamp - n.ago",
    "start_time": "t.start_time - extract(epoch from n.ago)",
    "end_time": "t.end_time - extract(epoch from n.ago)",
}
TAG = {"run_id": "n.id"}
EVENT = {
    "run_id": "n.id",
    "event": "replace(t.event, t.run_id, n.id)",
    "timestamp": "t.timestamp - n.ago",
}
COPIES = {"runs": RUN, "run_tags": TAG, "event_logs": EVENT}


def copy_run(settings: Settings, run_id: str, count: int) -> int:
    """Make `count` runs before this one; the number of rows that were written."""
    written = 0
    with transaction(settings.postgres) as database:
        for table, values in COPIES.items():
            written += _copy(database, table, values, run_id, count)
    return written


def _copy(database: cursor, table: str, values: dict[str, str], run_id: str, count: int) -> int:
    database.execute(
        "select column_name from information_schema.columns where table_name = %s and column_name <> 'id' order by 1",
        (table,),
    )
    names = [name for (name,) in database.fetchall()]
    columns = ", ".join(f'"{name}"' for name in names)
    chosen = ", ".join(values.get(name, f't."{name}"') for name in names)
    database.execute(
        f"""insert into {table} ({columns}) select {chosen} from {table} t,
            (select md5('run ' || number)::uuid::text as id, number * interval '{SECONDS_APART} seconds' as ago
               from generate_series(1, %s) number) n
             where t.run_id = %s""",
        (count, run_id),
    )
    return int(database.rowcount)
