"""Exactly one alive: each stream has one lease row in PostgreSQL, and every acquisition raises its epoch.

The clock is the database's own. Whoever holds an old epoch finds out at its next beat and must stop.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import short_transaction

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
    failures    integer not null default 0,
    problem     text
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
select stream, run_id, pid, host, epoch, lag, progress, failures, problem, released_at is not null as released,
       extract(epoch from clock_timestamp() - beat_at)::float8 as beat_age,
       extract(epoch from clock_timestamp() - acquired_at)::float8 as held_for
  from stream_leases
"""


class LeaseHeld(ShopStreamsError):
    """Another run holds a fresh lease on this stream."""

    next_step = "Nothing to do: the stream runs elsewhere. Terminate that run first if you want this one."


class Superseded(ShopStreamsError):
    """A newer epoch exists: this holder is a zombie and must not touch the stream again."""

    next_step = "Nothing to do: a newer run took over while this one was paused."


@dataclass(frozen=True)
class Lease:
    """One stream's lease as the database sees it now; ages in seconds, lag in offsets.

    `problem` is why the last run failed, until another one has committed a batch or has nothing left to commit. `failures`
    is what the keep-alive sensor noted: runs in a row that failed before they had run soundly.
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
    problem: str | None = None

    @property
    def topic_identity(self) -> str | None:
        """The topic whose offsets these are, as `cluster id/topic id`; None before the first batch."""
        return self.progress.get("topic_identity")

    @property
    def end_offsets(self) -> dict[int, int]:
        """For each Kafka partition, the first offset that the stream has not committed; {} before its first batch."""
        return {int(number): offset for number, offset in (self.progress.get("end_offsets") or {}).items()}

    @property
    def ran_for(self) -> float:
        """Seconds from its acquisition to its last beat."""
        return self.held_for - self.beat_age

    def fresh(self, ttl: float) -> bool:
        """Whether its holder must be taken for alive."""
        return not self.released and self.beat_age <= ttl


@dataclass(frozen=True)
class Leases:
    """The lease table in the database behind `dsn`. Every method but `hold` is one transaction on a connection of its own."""

    dsn: str

    def create_table(self) -> None:
        """Create the table where it is missing."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("select pg_advisory_xact_lock(hashtext('stream_leases'))")  # DDL races are errors
            cursor.execute(DDL)
            cursor.execute("alter table stream_leases add column if not exists failures integer not null default 0")
            cursor.execute("alter table stream_leases add column if not exists problem text")

    @contextmanager
    def hold(self, stream: str, run_id: str, ttl: float, say: Callable[[str], None]) -> Iterator[HeldLease]:
        """Hold the stream's lease for this process while the block lasts; `LeaseHeld` says who else has it."""
        epoch = self.acquire(stream, run_id, os.getpid(), socket.gethostname(), ttl)
        say(f"lease taken: epoch {epoch}")
        rests = False
        try:
            yield HeldLease(self, stream, epoch)
            rests = True
        finally:
            try:
                self.release(stream, epoch, rests)
            except psycopg2.Error as error:
                say(f"the lease could not be given back and will run out by itself: {error}")

    def acquire(self, stream: str, run_id: str, pid: int, host: str, ttl: float) -> int:
        """Take a free, released or stale lease and return its new epoch.

        Raises:
            LeaseHeld: somebody beat within the last `ttl` seconds; says who.
        """
        with short_transaction(self.dsn) as cursor:
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

    def keep(self, stream: str, epoch: int, columns: str = "", values: tuple[Any, ...] = ()) -> None:
        """Say that the holder of `epoch` is alive, and set `columns` to `values`: `, name = %s`.

        Raises:
            Superseded: a newer holder exists.
        """
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                f"update stream_leases set beat_at = clock_timestamp(){columns}"
                " where stream = %s and epoch = %s and released_at is null",
                (*values, stream, epoch),
            )
            if cursor.rowcount == 0:
                raise Superseded(f"epoch {epoch} of {stream} was revoked, or a newer one exists")

    def release(self, stream: str, epoch: int, rests: bool = False) -> None:
        """Give the lease back, unless a newer holder has it; who `rests` backs off no more from earlier failures."""
        failures = ", failures = 0" if rests else ""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                f"update stream_leases set released_at = clock_timestamp(){failures} where stream = %s and epoch = %s",
                (stream, epoch),
            )

    def revoke(self, stream: str, epoch: int, ttl: float) -> bool:
        """Take a stale lease away, so that its holder finds out at its next beat; False when it beat in the meantime."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                "update stream_leases set released_at = clock_timestamp() where stream = %s and epoch = %s"
                " and released_at is null and beat_at < clock_timestamp() - make_interval(secs => %s)",
                (stream, epoch, ttl),
            )
            return bool(cursor.rowcount)

    def note_failures(self, stream: str, failures: int) -> None:
        """Write down the sensor's count of failures, for `shop-streams status`."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("update stream_leases set failures = %s where stream = %s", (failures, stream))

    def note_problem(self, stream: str, run_id: str, problem: str) -> None:
        """Write down why a run failed, for `shop-streams status`, unless a newer run has the stream."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                "update stream_leases set problem = %s where stream = %s and run_id = %s", (problem, stream, run_id)
            )

    def read(self) -> dict[str, Lease]:
        """Every stream's lease by the stream's name."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(READ)
            return {row["stream"]: Lease(**row) for row in cursor.fetchall()}


@dataclass(frozen=True)
class HeldLease:
    """The lease that this process holds."""

    leases: Leases
    stream: str
    epoch: int

    def beat(self, lag: int | None, progress: dict[str, Any] | None, sound: bool = False) -> None:
        """Say that the holder is alive. Without `progress` the last one stays; one that is `sound` ends the last problem.

        Raises:
            Superseded: a newer holder exists.
        """
        columns = ", lag = %s, progress = coalesce(%s, progress), problem = case when %s then null else problem end"
        self.leases.keep(self.stream, self.epoch, columns, (lag, json.dumps(progress) if progress else None, sound))

    @contextmanager
    def beating(self, every: float, at_most: float) -> Iterator[None]:
        """Beat from a thread while the block lasts, for at most `at_most` seconds: for calls that take longer than a lease.

        Nobody may take the stream over meanwhile; a call that hangs longer loses the lease.
        """
        over = threading.Event()

        def beat() -> None:
            deadline = time.monotonic() + at_most
            while not over.wait(every) and time.monotonic() < deadline:
                with suppress(psycopg2.Error, Superseded):  # whoever beats next in the run's own thread says so
                    self.leases.keep(self.stream, self.epoch)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
