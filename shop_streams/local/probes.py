"""The services' health probes. Each returns None or raises `Unhealthy` with the reason."""

from __future__ import annotations

import re
import time
from pathlib import Path

import grpc
import httpx
import psycopg2
from confluent_kafka import KafkaException

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka_access import require_access
from shop_streams.postgres import connect, transaction
from shop_streams.settings import Settings

PROBE_SECONDS = 2.0
# PostgreSQL's messages for a wrong login; psycopg2 has no code for an error while it connects.
# In messages of PostgreSQL and of its client: the login, TLS ("certificate" in several sentences), or a wrong parameter.
REFUSALS = (
    "authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist", "certificate",
    "does not support SSL", "invalid sslmode", "invalid port",
)  # fmt: skip


class Unhealthy(Exception):
    """Why a service can't be used at this moment."""


class RefusesUs(Unhealthy):
    """The service answers that it refuses us: to wait does not help."""


class Recovering(Unhealthy):
    """The service answers that it is still starting: it must not be restarted."""


def probe_kafka(settings: Settings) -> None:
    """Log in, and ask the broker for its metadata."""
    try:
        require_access(settings.kafka, seconds=PROBE_SECONDS)
    except KafkaException as error:
        raise Unhealthy(f"no answer from {settings.kafka}: {error.args[0].str()}") from error
    except ShopStreamsError as error:
        raise RefusesUs(str(error)) from error


def probe_postgres(settings: Settings) -> None:
    """Open a connection; a server that is still recovering refuses it."""
    try:
        connect(settings.postgres, connect_timeout=int(PROBE_SECONDS)).close()
    except psycopg2.OperationalError as error:
        if settings.postgres_dsn and any(words in str(error) for words in REFUSALS):
            raise RefusesUs(
                f"PostgreSQL refuses us: {str(error).strip()}. Correct SHOP_STREAMS_POSTGRES_DSN, PGPASSWORD, or the server's rights."
            ) from error
        # "the database system is starting up", "… is in recovery mode": PostgreSQL's messages while it starts.
        kind = Recovering if "the database system is" in str(error) else Unhealthy
        raise kind(str(error).strip()) from error


def probe_spark(settings: Settings) -> None:
    """Complete an HTTP/2 handshake with the Spark Connect endpoint: an open port alone proves nothing."""
    host, port = settings.spark_address
    channel = _spark_channel(settings)
    try:
        grpc.channel_ready_future(channel).result(timeout=PROBE_SECONDS)
    except grpc.FutureTimeoutError as error:
        raise Unhealthy(f"no Spark Connect server answers at {host}:{port}") from error
    finally:
        channel.close()


def _spark_channel(settings: Settings) -> grpc.Channel:
    """A channel as Spark's client opens it: an address elsewhere with a token or `use_ssl=true` is one with TLS."""
    if re.search(r";(token=|use_ssl=true)", settings.spark_remote, re.IGNORECASE):
        from pyspark.sql.connect.client import DefaultChannelBuilder  # imports pandas

        return DefaultChannelBuilder(settings.spark_remote).toChannel()
    host, port = settings.spark_address
    return grpc.insecure_channel(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def probe_http(url: str) -> None:
    """Expect 200; a service's own health page answers 503 with the reason when a part it needs is down."""
    try:
        answer = httpx.get(url, timeout=PROBE_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise Unhealthy(f"{url}: {error}") from error
    if answer.status_code != httpx.codes.OK:
        raise Unhealthy(f"{url}: {answer.status_code} {answer.text[:200]}")


def probe_code_server(address: str) -> None:
    """Ask Dagster's code server through gRPC's own health protocol."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=PROBE_SECONDS
            )
        except grpc.RpcError as error:
            raise Unhealthy(f"{address}: {error.code().name}") from error


def probe_daemon(settings: Settings, tolerance_seconds: float = 90) -> None:
    """Expect a recent heartbeat of Dagster's sensor daemon, which beats every 30 s.

    Its time is read from the body, in epoch seconds, because the column's time has no zone. Opening Dagster's instance
    for each probe would take a second of CPU time.
    """
    try:
        with transaction(settings.postgres) as cursor:
            cursor.execute("select body::json->>'timestamp' from daemon_heartbeats where daemon_type = 'SENSOR'")
            row = cursor.fetchone()
    except psycopg2.Error as error:
        raise Unhealthy(str(error).strip()) from error
    # A heartbeat in the future: the clock was set back, and none came since.
    age = abs(time.time() - float(row[0])) if row else None
    if age is None or age > tolerance_seconds:
        raise Unhealthy("no heartbeat yet" if age is None else f"last heartbeat {age:.0f} s ago")


def beat_file(settings: Settings) -> Path:
    """The file that the watchdog touches at each look."""
    return settings.home / "watchdog.beat"


def probe_watchdog(settings: Settings, tolerance_seconds: float = 60) -> None:
    """Expect a recent look of the watchdog: it looks every 15 s, and a look takes at most 20 s."""
    try:
        age = abs(time.time() - beat_file(settings).stat().st_mtime)
    except FileNotFoundError as error:
        raise Unhealthy("it has not looked yet") from error
    if age > tolerance_seconds:
        raise Unhealthy(f"its last look was {age:.0f} s ago")
