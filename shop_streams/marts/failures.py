"""Partitions of marts that can't be computed: each backs off by itself, and holds up no other."""

from __future__ import annotations

from dataclasses import dataclass

from shop_streams.postgres import short_transaction
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
    """The failures in a row of one mart's partitions, in the database behind `dsn`."""

    dsn: str
    mart: str

    def create_table(self) -> None:
        """Create the table where it is missing."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("select pg_advisory_xact_lock(hashtext('mart_failures'))")  # DDL races are errors
            cursor.execute(DDL)

    def count(self, partition: str) -> None:
        """The partition could not be computed."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(COUNT, (self.mart, partition))

    def forget(self, partition: str) -> None:
        """The partition was computed."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("delete from mart_failures where mart = %s and partition = %s", (self.mart, partition))

    def pauses(self) -> dict[str, float]:
        """Seconds that each partition whose last computation failed still has to wait, 0 for none."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                "select partition, failures, extract(epoch from clock_timestamp() - failed_at)::float8 as age"
                "  from mart_failures where mart = %s",
                (self.mart,),
            )
            return {row["partition"]: pause_after(row["failures"], row["age"]) for row in cursor.fetchall()}


def pause_after(failures: int, age: float) -> float:
    """Seconds that a partition still has to wait, `age` seconds after the last of `failures` in a row.

    One more failure than of a run: even the first one is waited after, since nothing has changed meanwhile.
    """
    return max(0.0, backoff_seconds(failures + 1) - age)
