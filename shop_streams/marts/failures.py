"""Failures in a row of each mart partition. A failing partition backs off and does not delay others."""

from __future__ import annotations

from dataclasses import dataclass

from shop_streams.postgres import run_ddl, short_transaction
from shop_streams.runs import backoff_seconds

DDL = """
create table if not exists mart_failures (
    mart      text not null,
    partition text not null,
    failures  integer not null,
    failed_at timestamptz not null,
    primary key (mart, partition)
)
"""
COUNT = """
insert into mart_failures as known values (%s, %s, 1, clock_timestamp())
on conflict (mart, partition) do update set failures = known.failures + 1, failed_at = excluded.failed_at
"""


@dataclass(frozen=True)
class MartFailures:
    """The failures in a row of one mart's partitions, in the database `dsn`."""

    dsn: str
    mart: str

    def create_table(self) -> None:
        """Create the table if it is missing."""
        run_ddl(self.dsn, "mart_failures", DDL)

    def count(self, partition: str) -> None:
        """Count a failure of the partition."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(COUNT, (self.mart, partition))

    def forget(self, partition: str) -> None:
        """Delete the failures of a partition that was computed."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("delete from mart_failures where mart = %s and partition = %s", (self.mart, partition))

    def pauses(self) -> dict[str, float]:
        """Partition whose last computation failed -> seconds that it still has to wait, 0 for none."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                "select partition, failures, extract(epoch from clock_timestamp() - failed_at)::float8 as age"
                "  from mart_failures where mart = %s",
                (self.mart,),
            )
            return {row["partition"]: pause_after(row["failures"], row["age"]) for row in cursor.fetchall()}


def pause_after(failures: int, age: float) -> float:
    """Seconds that a partition still has to wait, `age` seconds after the last of `failures` in a row.

    `age` is negative if the clock was set back since; the partition then waits no longer than without that.
    Unlike a run, a partition waits after its first failure too: nothing has changed since.
    """
    return max(0.0, backoff_seconds(failures + 1) - abs(age))
