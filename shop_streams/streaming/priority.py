"""Priorities on a small machine: streams before marts, and one stream's start after the other.

A start keeps two cores busy for a minute, and Spark gives the Python worker of a foreachBatch 10 s to start. If all streams
started at once, after `up` or a restart of Spark, they would make each other miss this limit.
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
from shop_streams.streaming.switch import LOCATION, keep_alive_name, switched_off

TURN_SECONDS = 90.0


@contextmanager
def turn_to_start(dsn: str, server: str, seconds: float = TURN_SECONDS) -> Iterator[None]:
    """Lock the start of queries on this Spark server while the block lasts; wait for the lock for at most `seconds`.

    It is a session lock in the database `dsn`, so PostgreSQL releases it when the process dies.
    """
    connection = connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("select set_config('lock_timeout', %s, false)", (f"{seconds:.0f}s",))
            with suppress(LockNotAvailable):  # another stream's start hangs; this one goes ahead
                cursor.execute("select pg_advisory_lock(hashtext(%s))", (f"start of a stream on {server}",))
        yield
    finally:
        connection.close()


def streams_first(leases: Mapping[str, Lease], sensors: Set[str], off: Set[str], ttl: float) -> str | None:
    """Why marts and checks wait: a stream that should run has no fresh lease or cannot reach Kafka. None if there is none.

    Streams that rest, that fail repeatedly, or that have no sensor in this code are not waited for.
    """
    for name, lease in sorted(leases.items()):
        sensor = keep_alive_name(name)
        if sensor not in sensors or sensor in off or lease.failures > 1:
            continue
        if lease.lag is None or not lease.fresh(ttl):
            return f"waiting: stream {name} has no fresh lease, or cannot reach Kafka"
    return None


def streams_first_now(
    context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext, settings: Settings
) -> str | None:
    """`streams_first` with the present leases and sensors; while the stack is being stopped, `BEING_STOPPED`."""
    if RestRequest.of(settings).made():
        return BEING_STOPPED
    repository = context.repository_def
    sensors = {sensor.name for sensor in repository.sensor_defs} if repository else set()
    origin = getattr(context, "code_location_origin", None)  # a schedule's context has none
    off = switched_off(context.instance, origin.location_name if origin else LOCATION)
    return streams_first(Leases(settings.postgres).read(), sensors, off, settings.lease_seconds)
