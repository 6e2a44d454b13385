"""Streams start their queries one after the other.

A start is a minute's work for a small machine's cores, and Spark gives the Python worker of a foreachBatch 10 s to come up. When
all streams start at once, as after `up` or a restart of Spark, each makes the others miss that limit, and tries again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg2.errors import LockNotAvailable

from shop_streams.postgres import connect

TURN_SECONDS = 90.0


@contextmanager
def turn_to_start(dsn: str, server: str, seconds: float = TURN_SECONDS) -> Iterator[None]:
    """Wait until nobody else starts a query on this Spark server, for `seconds` at most, and be the one until the block ends.

    The turn is a lock of a session in the database behind `dsn`: who dies gives it back.
    """
    connection = connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("select set_config('lock_timeout', %s, false)", (f"{seconds:.0f}s",))
            with suppress(LockNotAvailable):  # somebody's start hangs: no reason that this one should
                cursor.execute("select pg_advisory_lock(hashtext(%s))", (f"start of a stream on {server}",))
        yield
    finally:
        connection.close()
