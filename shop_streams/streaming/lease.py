"""Leases: each stream has one row in PostgreSQL, and every acquisition raises its epoch, so that one run is alive.

All times are the database's. A run with an old epoch gets `Superseded` at its next beat and must stop.
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
from pathlib import Path
from typing import Any

import psycopg2

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import run_ddl, short_transaction
from shop_streams.streaming.lease_table import ACQUIRE, COUNT_FROM_NOW, DDL, READ, REVOKE
from shop_streams.streaming.rest import stack_id


class LeaseHeld(ShopStreamsError):
    """Another run holds a fresh lease on this stream."""

    next_step = "Nothing to do: another run of the stream is alive. Terminate that run first if you want this one."


class Superseded(ShopStreamsError):
    """The lease was revoked, or a newer epoch exists: this run must stop its query."""

    next_step = "Nothing to do: a newer run took over while this one was paused."


@dataclass(frozen=True)
class Lease:
    """A stream's lease at the time of reading; ages in seconds, lag in offsets.

    `problem`: why the last run failed, until a later run commits a batch or has nothing to commit. `failures`: failed runs in
    a row, as the keep-alive sensor counts them.
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
    stack: str | None = None  # None: of an earlier version
    home: str | None = None

    @property
    def topic_identity(self) -> str | None:
        """`cluster id/topic id` of the topic that `end_offsets` belong to; None before the first batch."""
        return self.progress.get("topic_identity")

    @property
    def end_offsets(self) -> dict[int, int]:
        """Partition -> first offset that is not committed; {} before the first batch."""
        return {int(number): offset for number, offset in (self.progress.get("end_offsets") or {}).items()}

    @property
    def ran_for(self) -> float:
        """Seconds from the acquisition to the last beat."""
        return self.held_for - self.beat_age

    @property
    def in_the_future(self) -> bool:
        """Whether the clock was set back since the lease was acquired, or since the last beat."""
        return min(self.beat_age, self.held_for) < 0

    def fresh(self, ttl: float) -> bool:
        """Whether the holder counts as alive: not released, and a beat within `ttl` seconds.

        A beat in the far future is of a clock that was set back since, and says nothing.
        """
        return not self.released and abs(self.beat_age) <= ttl


@dataclass(frozen=True)
class Leases:
    """The table `stream_leases` in the database `dsn`. Every method except `hold` is one transaction on a new connection.

    `home`: of the stack that acquires leases.
    """

    dsn: str
    home: Path | None = None

    def create_table(self) -> None:
        """Create the table if it is missing."""
        run_ddl(self.dsn, "stream_leases", DDL)

    @contextmanager
    def hold(self, stream: str, run_id: str, ttl: float, say: Callable[[str], None]) -> Iterator[HeldLease]:
        """Hold the stream's lease for this process while the block lasts.

        Raises:
            LeaseHeld: another run holds a fresh lease; names it.
        """
        epoch = self.acquire(stream, run_id, os.getpid(), socket.gethostname(), ttl)
        say(f"lease acquired: epoch {epoch}")
        rests = False
        try:
            yield HeldLease(self, stream, epoch)
            rests = True
        finally:
            try:
                self.release(stream, epoch, rests)
            except psycopg2.Error as error:
                say(f"the lease could not be released and will become stale by itself: {error}")

    def acquire(self, stream: str, run_id: str, pid: int, host: str, ttl: float) -> int:
        """Acquire a new, released or stale lease and return its epoch.

        Raises:
            LeaseHeld: a holder beat within the last `ttl` seconds; names it.
        """
        stack, home = (None, None) if self.home is None else (stack_id(self.home), str(self.home.resolve()))
        values = {
            "stream": stream,
            "run_id": run_id,
            "pid": pid,
            "host": host,
            "ttl": ttl,
            "stack": stack,
            "home": home,
        }
        with short_transaction(self.dsn) as cursor:
            cursor.execute(ACQUIRE, values)
            row = cursor.fetchone()
        if row is None:
            holder = self.read().get(stream)
            raise LeaseHeld(
                f"{stream} is held by run {holder.run_id} (pid {holder.pid} on {holder.host}, epoch {holder.epoch}), "
                f"which beat {holder.beat_age:.1f} s ago"
                if holder
                else f"the lease of {stream} has just been acquired by another run"
            )
        return int(row["epoch"])

    def keep(self, stream: str, epoch: int, columns: str = "", values: tuple[Any, ...] = ()) -> None:
        """Record a beat of the holder of `epoch`, and set `columns` (`, name = %s`) to `values`.

        Raises:
            Superseded: the lease was revoked, or a newer epoch exists.
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
        """Release the lease, unless a newer epoch exists. `rests`: also reset the number of failures."""
        failures = ", failures = 0" if rests else ""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                f"update stream_leases set released_at = clock_timestamp(){failures} where stream = %s and epoch = %s",
                (stream, epoch),
            )

    def revoke(self, stream: str, epoch: int, ttl: float) -> bool:
        """Release a stale lease of another holder, who gets `Superseded` at the next beat; False if it has beaten meanwhile."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(REVOKE, {"stream": stream, "epoch": epoch, "ttl": ttl})
            return bool(cursor.rowcount)

    def count_from_now(self, stream: str) -> bool:
        """Correct times in the future, which a clock that was set back left behind; whether there were any.

        A living holder beats within the lease's time from then on, and a dead one becomes stale.
        """
        with short_transaction(self.dsn) as cursor:
            cursor.execute(COUNT_FROM_NOW, (stream,))
            return bool(cursor.rowcount)

    def record_failures(self, stream: str, failures: int) -> None:
        """Store the sensor's number of failures, for `shop-streams status`."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("update stream_leases set failures = %s where stream = %s", (failures, stream))

    def record_problem(self, stream: str, run_id: str, problem: str) -> None:
        """Store why a run failed, for `shop-streams status`, unless a newer run has acquired the lease."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                "update stream_leases set problem = %s where stream = %s and run_id = %s", (problem, stream, run_id)
            )

    def read(self) -> dict[str, Lease]:
        """Stream name -> lease."""
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
        """Record a beat. None as `progress` keeps the last progress; `sound` deletes the last problem.

        Raises:
            Superseded: the lease was revoked, or a newer epoch exists.
        """
        columns = ", lag = %s, progress = coalesce(%s, progress), problem = case when %s then null else problem end"
        self.leases.keep(self.stream, self.epoch, columns, (lag, json.dumps(progress) if progress else None, sound))

    @contextmanager
    def beating(self, every: float, at_most: float) -> Iterator[None]:
        """Beat from a thread while the block lasts, for at most `at_most` seconds: for calls that take longer than a lease."""
        over = threading.Event()

        def beat() -> None:
            deadline = time.monotonic() + at_most
            while not over.wait(every) and time.monotonic() < deadline:
                with suppress(psycopg2.Error, Superseded):  # the next `beat` in the run's thread reports it
                    self.leases.keep(self.stream, self.epoch)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
