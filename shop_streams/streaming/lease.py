"""Exactly one alive: each stream has one lease row in PostgreSQL, and every acquisition raises its epoch.

The clock is the database's own. Whoever holds an old epoch finds out at its next beat and must stop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extras

DDL = """
create table if not exists stream_leases (
    stream      text primary key,
    run_id      text not null,
    pid         integer not null,
    host        text not null,
    epoch       bigint not null,
    acquired_at timestamptz not null,
    beat_at     timestamptz not null,
    released_at timestamptz,
    lag         bigint,
    progress    jsonb not null default '{}',
    failures    integer not null default 0
)
"""

ACQUIRE = """
insert into stream_leases as held (stream, run_id, pid, host, epoch, acquired_at, beat_at)
values (%(stream)s, %(run_id)s, %(pid)s, %(host)s, 1, clock_timestamp(), clock_timestamp())
on conflict (stream) do update
   set run_id = excluded.run_id, pid = excluded.pid, host = excluded.host, epoch = held.epoch + 1,
       acquired_at = excluded.acquired_at, beat_at = excluded.beat_at, released_at = null, lag = null
 where held.released_at is not null
    or held.beat_at < clock_timestamp() - make_interval(secs => %(ttl)s)
returning epoch
"""

READ = """
select stream, run_id, pid, host, epoch, lag, progress, failures, released_at is not null as released,
       extract(epoch from clock_timestamp() - beat_at)::float8 as beat_age,
       extract(epoch from clock_timestamp() - acquired_at)::float8 as held_for
  from stream_leases
"""


class LeaseHeld(Exception):
    """Another run holds a fresh lease on this stream."""


class Superseded(Exception):
    """A newer epoch exists: this holder is a zombie and must not touch the stream again."""


@dataclass(frozen=True)
class Lease:
    """One stream's lease as the database sees it now; ages in seconds, lag in offsets.

    `failures` is what the keep-alive sensor noted: runs in a row that failed before their first batch.
    """

    stream: str
    run_id: str
    pid: int
    host: str
    epoch: int
    lag: int | None
    progress: dict[str, Any]
    failures: int
    released: bool
    beat_age: float
    held_for: float

    @property
    def end_offsets(self) -> dict[int, int]:
        """For each Kafka partition, the first offset that the stream has not committed; {} before its first batch."""
        return {int(number): offset for number, offset in (self.progress.get("end_offsets") or {}).items()}

    def fresh(self, ttl: float) -> bool:
        """Whether its holder must be taken for alive."""
        return not self.released and self.beat_age <= ttl


@dataclass(frozen=True)
class Leases:
    """The lease table in the database behind `dsn`. Every method is one transaction on a connection of its own."""

    dsn: str

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        # A beat must fail within the lease's time, not hang on a database that went away.
        connection = psycopg2.connect(
            self.dsn, connect_timeout=3, options="-c statement_timeout=5000", tcp_user_timeout=5000
        )
        try:
            with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                yield cursor
        finally:
            connection.close()

    def create_table(self) -> None:
        """Create the table where it is missing."""
        with self._cursor() as cursor:
            cursor.execute(
                "select pg_advisory_xact_lock(hashtext('stream_leases'))"
            )  # DDL races are errors in PostgreSQL
            cursor.execute(DDL)
            cursor.execute("alter table stream_leases add column if not exists failures integer not null default 0")

    def acquire(self, stream: str, run_id: str, pid: int, host: str, ttl: float) -> int:
        """Take a free, released or stale lease and return its new epoch.

        Raises:
            LeaseHeld: somebody beat within the last `ttl` seconds; says who.
        """
        with self._cursor() as cursor:
            cursor.execute(ACQUIRE, {"stream": stream, "run_id": run_id, "pid": pid, "host": host, "ttl": ttl})
            row = cursor.fetchone()
        if row is None:
            holder = self.read().get(stream)
            raise LeaseHeld(
                f"{stream} is held by run {holder.run_id} (pid {holder.pid} on {holder.host}, epoch {holder.epoch}), "
                f"which beat {holder.beat_age:.1f} s ago"
                if holder
                else f"{stream} was taken in this very moment"
            )
        return int(row["epoch"])

    def beat(self, stream: str, epoch: int, lag: int | None, progress: dict[str, Any]) -> None:
        """Say that the holder of `epoch` is alive.

        Raises:
            Superseded: a newer holder exists.
        """
        with self._cursor() as cursor:
            cursor.execute(
                "update stream_leases set beat_at = clock_timestamp(), lag = %s, progress = %s"
                " where stream = %s and epoch = %s and released_at is null",
                (lag, json.dumps(progress), stream, epoch),
            )
            if cursor.rowcount == 0:
                raise Superseded(f"epoch {epoch} of {stream} was revoked, or a newer one exists")

    def release(self, stream: str, epoch: int) -> None:
        """Give the lease back, unless a newer holder has it."""
        with self._cursor() as cursor:
            cursor.execute(
                "update stream_leases set released_at = clock_timestamp() where stream = %s and epoch = %s",
                (stream, epoch),
            )

    def revoke(self, stream: str, epoch: int, ttl: float) -> bool:
        """Take a stale lease away, so that its holder finds out at its next beat; False when it beat in the meantime."""
        with self._cursor() as cursor:
            cursor.execute(
                "update stream_leases set released_at = clock_timestamp() where stream = %s and epoch = %s"
                " and released_at is null and beat_at < clock_timestamp() - make_interval(secs => %s)",
                (stream, epoch, ttl),
            )
            return bool(cursor.rowcount)

    def note_failures(self, stream: str, failures: int) -> None:
        """Write down the sensor's count of failures, for `shop-streams status`."""
        with self._cursor() as cursor:
            cursor.execute("update stream_leases set failures = %s where stream = %s", (failures, stream))

    def read(self) -> dict[str, Lease]:
        """Every stream's lease by the stream's name."""
        with self._cursor() as cursor:
            cursor.execute(READ)
            return {row["stream"]: Lease(**row) for row in cursor.fetchall()}
