"""Connections to PostgreSQL, all with the same limits. Keep the import light: Spark's worker imports this file."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extras

from shop_streams.errors import ShopStreamsError

CONNECT_SECONDS = 3
SILENCE_MILLISECONDS = 10_000  # without a TCP acknowledgement
SHORT_MILLISECONDS = 5_000
# Limits that an administrator may have set for the role or the database, and the server's version that first has each.
OTHERS_LIMITS = {
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 14,
    "transaction_timeout": 17,
}


def connect(dsn: str, **options: Any) -> Any:
    """A connection with libpq's `options`. It fails within seconds when no server answers.

    The time limits of the role and the database are switched off for it: 30 s for a statement are usual, and some of ours wait
    longer for a lock, or keep one in an idle session. Whoever needs a limit sets it.

    Raises:
        psycopg2.OperationalError: no server answers, or it refuses.
    """
    limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": SILENCE_MILLISECONDS}
    connection = psycopg2.connect(dsn, **limits | options)
    known = [name for name, since in OTHERS_LIMITS.items() if connection.server_version >= 10_000 * since]
    connection.autocommit = True  # a rollback would bring the limits back
    with connection.cursor() as cursor:  # as connection parameters, they would replace the DSN's own `options`
        cursor.execute("; ".join(f"set {name} = 0" for name in known))
    connection.autocommit = False
    return connection


@contextmanager
def transaction(dsn: str) -> Iterator[Any]:
    """A cursor in a new transaction on a new connection; rows are tuples."""
    connection = connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@contextmanager
def short_transaction(dsn: str) -> Iterator[Any]:
    """As `transaction`, but each statement fails after 5 s, so that a heartbeat can't hang; rows are dictionaries."""
    connection = connect(dsn, tcp_user_timeout=SHORT_MILLISECONDS)
    try:
        with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            # As a connection parameter, it would replace the DSN's own `options`.
            cursor.execute("set local statement_timeout = %s", (SHORT_MILLISECONDS,))
            yield cursor
    finally:
        connection.close()


def no_answer(holds: str, error: psycopg2.Error) -> ShopStreamsError:
    """What to say, and the next step, if the database that `holds` something does not answer."""
    why = str(error).strip().rstrip("?.")
    return ShopStreamsError(f"PostgreSQL, which has {holds}, does not answer: {why}. See `shop-streams status`.")


def run_ddl(dsn: str, name: str, statements: str) -> None:
    """Run idempotent DDL under the advisory lock `name`, because concurrent DDL fails.

    Raises:
        psycopg2.errors.QueryCanceled: another session has kept the lock, or a table, for 5 s.
    """
    with short_transaction(dsn) as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (name,))
        cursor.execute(statements)


@contextmanager
def listening(dsn: str, channel: str) -> Iterator[Any]:
    """A connection that receives the notifications of `channel`."""
    connection = connect(dsn, keepalives_idle=5, keepalives_interval=2, keepalives_count=3)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"listen {channel}")
        yield connection
    finally:
        connection.close()


class ReadPool:
    """At most `size` connections for short reads. A connection that the server has closed is replaced before it is used.

    All limits are kept by this process too, because a stopped server acknowledges bytes and never answers. For that, psycopg2
    calls `_wait` for every answer, in this whole process.
    """

    def __init__(self, dsn: str, size: int, statement_seconds: float) -> None:
        from sqlalchemy import create_engine, event  # not for Spark's worker

        psycopg2.extensions.set_wait_callback(_wait)
        self._statement_seconds = statement_seconds
        self._engine = create_engine(
            "postgresql+psycopg2://", creator=lambda: connect(dsn), pool_size=size, max_overflow=0, pool_timeout=0,
            pool_pre_ping=True,
        )  # fmt: skip
        event.listen(self._engine, "connect", self._set_limits)

    def _set_limits(self, connection: Any, _record: Any) -> None:
        connection.set_session(readonly=True, autocommit=True)
        with connection.cursor() as cursor:  # as a connection parameter, it would replace the DSN's own `options`
            cursor.execute("set statement_timeout = %s", (int(self._statement_seconds * 1000),))

    @contextmanager
    def cursor(self, **options: Any) -> Iterator[Any]:
        """A cursor with psycopg2's `options`; each statement is a read-only transaction of its own.

        Raises:
            psycopg2.Error: no connection within `CONNECT_SECONDS`, or a statement took longer than the limit.
        """
        _answer_until.at = time.monotonic() + CONNECT_SECONDS
        try:
            connection: Any = self._engine.raw_connection()
            try:
                _answer_until.at = time.monotonic() + self._statement_seconds + 1
                with connection.cursor(**options) as cursor:
                    yield cursor
            finally:
                _answer_until.at = time.monotonic() + 1
                connection.close()  # returns it to the pool
        finally:
            _answer_until.at = None

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._engine.dispose()


_answer_until = threading.local()  # time.monotonic() at which this thread stops to wait for the server


def _wait(connection: Any) -> None:
    """Wait until psycopg2's call is done. psycopg2 closes the connection if this raises."""
    until = getattr(_answer_until, "at", None) or time.monotonic() + SILENCE_MILLISECONDS / 1000
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        poller = select.poll()  # `select.select` refuses files from number 1024 on
        poller.register(connection, select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT)
        left = until - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            raise psycopg2.OperationalError("the server has not answered in time")
