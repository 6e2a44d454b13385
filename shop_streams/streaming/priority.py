"""Who goes first on a small machine: streams before marts, and one stream's start after the other.

A start is a minute's work for a small machine's cores, and Spark gives the Python worker of a foreachBatch 10 s to come up. When
all streams start at once, as after `up` or a restart of Spark, each makes the others miss that limit, and tries again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress

import dagster as dg
from psycopg2.errors import LockNotAvailable

from shop_streams.postgres import connect
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Lease, Leases
from shop_streams.streaming.rest import BEING_STOPPED, RestRequest
from shop_streams.streaming.switch import keep_alive_name, switched_off

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


def streams_first(leases: Mapping[str, Lease], sensors: Set[str], off: Set[str], ttl: float) -> str | None:
    """Why others wait for the streams: one that should run is not back yet, and needs the machine.

    Nobody waits for a stream that rests, or fails again and again, or that this code does not define (any more).
    """
    for name, lease in sorted(leases.items()):
        sensor = keep_alive_name(name)
        if sensor not in sensors or sensor in off or lease.failures > 1:
            continue
        if lease.lag is None or not lease.fresh(ttl):
            return f"{name} is starting or misses its broker, and streams come first"
    return None


def streams_first_now(
    context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext, settings: Settings
) -> str | None:
    """`streams_first` of the leases and switches at this moment; and while the stack is being stopped, nothing starts."""
    if RestRequest.of(settings).made():
        return BEING_STOPPED
    repository = context.repository_def
    sensors = {sensor.name for sensor in repository.sensor_defs} if repository else set()
    return streams_first(
        Leases(settings.postgres).read(), sensors, switched_off(context.instance), settings.lease_seconds
    )
