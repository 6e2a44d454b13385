"""Connections to PostgreSQL, all with the same limits. Keep the import light: Spark's worker imports this file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extras

CONNECT_SECONDS = 3
SILENCE_MILLISECONDS = 10_000  # without a TCP acknowledgement
SHORT_MILLISECONDS = 5_000


def connect(dsn: str, **options: Any) -> Any:
    """A connection with libpq's `options`. It fails within seconds when no server answers.

    Raises:
        psycopg2.OperationalError: no server answers, or it refuses.
    """
    limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": SILENCE_MILLISECONDS}
    return psycopg2.connect(dsn, **limits | options)


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


def run_ddl(dsn: str, name: str, statements: str) -> None:
    """Run idempotent DDL under the advisory lock `name`, because concurrent DDL fails."""
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
