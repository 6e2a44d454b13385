"""How we connect to PostgreSQL: everybody's connections have the same limits. Light to import: Spark's worker does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extras

CONNECT_SECONDS = 3
SILENCE_MILLISECONDS = 10_000  # of a peer that acknowledges nothing
SHORT_MILLISECONDS = 5_000


def connect(dsn: str, **options: Any) -> Any:
    """A connection; `options` are libpq's. It fails within seconds when no server answers.

    Raises:
        psycopg2.OperationalError: no server answers, or it refuses.
    """
    limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": SILENCE_MILLISECONDS}
    return psycopg2.connect(dsn, **limits | options)


@contextmanager
def transaction(dsn: str) -> Iterator[Any]:
    """A cursor in a transaction of its own, on a connection of its own; its rows are tuples."""
    connection = connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@contextmanager
def short_transaction(dsn: str) -> Iterator[Any]:
    """As `transaction`, but each statement fails after 5 s, and rows are dictionaries: a beat must not hang on a database that went away."""
    connection = connect(dsn, tcp_user_timeout=SHORT_MILLISECONDS)
    try:
        with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            # As `options=` it would replace those of the DSN.
            cursor.execute("set local statement_timeout = %s", (SHORT_MILLISECONDS,))
            yield cursor
    finally:
        connection.close()


@contextmanager
def listening(dsn: str, channel: str) -> Iterator[Any]:
    """A connection that receives the notices of `channel`."""
    connection = connect(dsn, keepalives_idle=5, keepalives_interval=2, keepalives_count=3)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"listen {channel}")
        yield connection
    finally:
        connection.close()
