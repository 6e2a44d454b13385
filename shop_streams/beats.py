"""Heartbeats of marts' runs in PostgreSQL. Any host can detect a run whose host is gone."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import psycopg2

from shop_streams.postgres import run_ddl, short_transaction

BEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0
KEEP_DAYS = 7

DDL = f"""
create table if not exists process_beats (
    process text primary key,
    beat_at timestamptz not null
);
delete from process_beats where beat_at < clock_timestamp() - make_interval(days => {KEEP_DAYS})
"""
BEAT = """
insert into process_beats (process, beat_at) values (%s, clock_timestamp())
on conflict (process) do update set beat_at = excluded.beat_at
"""
# A beat in the future is of a clock that was set back since: it counts from now.
COUNT_FROM_NOW = (
    "update process_beats set beat_at = clock_timestamp() where process = %s and beat_at > clock_timestamp()"
)
# No process can beat while the database is down, so that time does not count.
SILENT = """
select extract(epoch from clock_timestamp() - greatest(beat_at, started))::float8 as seconds
  from process_beats left join (select pg_postmaster_start_time() as started) as server on started <= clock_timestamp()
 where process = %s
"""


@dataclass(frozen=True)
class ProcessBeats:
    """The table `process_beats` in the database `dsn`."""

    dsn: str

    def create_table(self) -> None:
        """Create the table if it is missing, and delete rows older than `KEEP_DAYS`."""
        run_ddl(self.dsn, "process_beats", DDL)

    def beat(self, process: str) -> None:
        """Record that `process` is alive."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(BEAT, (process,))

    def beat_until_the_end(self, process: str, every: float = BEAT_SECONDS) -> None:
        """Beat from a thread until this process ends."""

        def keep_beating() -> None:
            while True:
                with suppress(psycopg2.Error):  # the next beat tries again
                    self.beat(process)
                time.sleep(every)

        threading.Thread(target=keep_beating, name=f"beats of {process}", daemon=True).start()

    def silent_for(self, process: str) -> float | None:
        """Seconds since the last beat, or since the database's start if that is later; None if the process has never beaten."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(COUNT_FROM_NOW, (process,))
            cursor.execute(SILENT, (process,))
            row = cursor.fetchone()
        return float(row["seconds"]) if row else None
