"""Tables in PostgreSQL: failures in a row of a stream's batch, and poisoned records that a stream leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shop_streams.postgres import run_ddl, short_transaction
from shop_streams.streaming.checkpoint import GENERATION_STEP, partition_shift

DDL = """
create table if not exists batch_failures (
    stream   text primary key,
    batch_id bigint not null,
    failures integer not null
);
create table if not exists poisoned_records (
    stream          text not null,
    kafka_partition integer not null,
    kafka_offset    bigint not null,
    reason          text not null,
    found_at        timestamptz not null default clock_timestamp(),
    primary key (stream, kafka_partition, kafka_offset)
);
"""
COUNT = """
insert into batch_failures as known values (%(stream)s, %(batch_id)s, 1)
on conflict (stream) do update
   set failures = case when known.batch_id = excluded.batch_id then known.failures + 1 else 1 end,
       batch_id = excluded.batch_id
returning failures
"""


@dataclass(frozen=True)
class BatchFailures:
    """Failing batches and poisoned records, in the database `dsn`."""

    dsn: str

    def create_tables(self) -> None:
        """Create the tables if they are missing."""
        run_ddl(self.dsn, "poisoned_records", DDL)

    def count(self, stream: str, batch_id: int) -> int:
        """Count a failure of the batch and return its number of failures in a row."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(COUNT, {"stream": stream, "batch_id": batch_id})
            return int(cursor.fetchone()["failures"])

    def failures(self, stream: str, batch_id: int) -> int:
        """The batch's number of failures in a row."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                "select failures from batch_failures where stream = %s and batch_id = %s", (stream, batch_id)
            )
            row = cursor.fetchone()
            return int(row["failures"]) if row else 0

    def poisoned(self, stream: str) -> list[tuple[int, int]]:
        """(partition, offset) of the records that the stream leaves out."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("select kafka_partition, kafka_offset from poisoned_records where stream = %s", (stream,))
            return [(row["kafka_partition"], row["kafka_offset"]) for row in cursor.fetchall()]

    def record_poisoned(self, stream: str, found: Sequence[tuple[int, int, str]]) -> None:
        """Store (partition, offset, reason) of records that the stream leaves out from its next start on."""
        with short_transaction(self.dsn) as cursor:
            for partition, offset, reason in found:
                cursor.execute(
                    "insert into poisoned_records values (%s, %s, %s, %s) on conflict do nothing",
                    (stream, partition, offset, reason),
                )

    def forget(self, stream: str) -> None:
        """Delete everything about a stream with a new checkpoint: the offsets may belong to another topic."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("delete from poisoned_records where stream = %s", (stream,))
            cursor.execute("delete from batch_failures where stream = %s", (stream,))


def failures_key(stream: str, generation: int) -> str:
    """The stream's name in `BatchFailures`: offsets of an earlier topic have another one, also in a restored database."""
    return f"{stream}#{generation}" if generation else stream


def failures_of(stream: str, folder: str) -> str:
    """`failures_key` of the stream with this checkpoint."""
    return failures_key(stream, partition_shift(folder) // GENERATION_STEP)
