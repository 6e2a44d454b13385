"""What `shop-streams status --json` says; the shape is an interface that others build on."""

from __future__ import annotations

from typing import Any

import psycopg2
from confluent_kafka import KafkaException

from shop_streams.defs import streams as defined
from shop_streams.defs.streams import LAKE_STREAMS
from shop_streams.kafka import copies
from shop_streams.lake import log
from shop_streams.local.stack import service_states
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.keep_alive import stream_state
from shop_streams.streaming.lease import Lease, Leases
from shop_streams.streaming.progress import consumer_lag
from shop_streams.streaming.spec import StreamSpec

STREAMS = tuple(spec.name for spec in defined.STREAMS)


def collect(settings: Settings) -> dict[str, Any]:
    """Services, endpoints and streams at this moment."""
    return {
        "services": service_states(settings),
        "endpoints": {
            "kafka_bootstrap_servers": settings.kafka,
            "postgres_dsn": settings.postgres,
            "spark_remote": settings.spark,
            "collector_url": f"http://127.0.0.1:{settings.collector_port}",
            "api_url": f"http://127.0.0.1:{settings.api_port}",
            "dagster_url": f"http://127.0.0.1:{settings.dagster_port}",
            "lake_uri": settings.lake,
        },
        "streams": streams(settings),
        "topics": _topics(settings),
    }


def _topics(settings: Settings) -> dict[str, dict[str, int | None]]:
    """Where everything of each topic is, out of the Delta log, Kafka's offsets and the stream's; None for what does not answer."""
    try:
        leases = Leases(settings.postgres).read()
    except psycopg2.Error:
        leases = {}
    try:
        kept = copies(settings.kafka, [spec.topic.name for spec in LAKE_STREAMS], seconds=2)
    except KafkaException:
        kept = {}
    return {
        spec.topic.name: _totals(spec, settings, leases.get(spec.name)) | {"copies": kept.get(spec.topic.name)}
        for spec in LAKE_STREAMS
    }


def _totals(spec: StreamSpec, settings: Settings, lease: Lease | None) -> dict[str, int | None]:
    table = spec.sink.table
    assert table is not None
    rows = sum(log.row_counts(table.uri(settings), table.partition_by[0]).values())
    letters = log.row_counts(DEAD_LETTERS.uri(settings), "domain").get(spec.domain, 0)
    ends = {str(number): end for number, end in lease.end_offsets.items()} if lease else {}
    in_flight = consumer_lag(settings.kafka, spec.topic.name, ends)
    records = None if in_flight is None else rows + letters + in_flight
    return {"offsets": records, "rows": rows, "dead_letters": letters, "in_flight": in_flight}


def streams(settings: Settings) -> dict[str, dict[str, Any]]:
    """Each stream's state out of its lease; all at rest while the database does not answer."""
    try:
        leases = Leases(settings.postgres).read()
    except psycopg2.Error:
        leases = {}
    return {name: _stream(leases.get(name), settings) for name in STREAMS}


def _stream(lease: Lease | None, settings: Settings) -> dict[str, Any]:
    state = stream_state(lease, settings.lease_seconds)
    if lease is None:
        return {
            "state": state,
            "run_id": None,
            "pid": None,
            "epoch": None,
            "lag": None,
            "beat_age_seconds": None,
            "problem": None,
        }
    return {
        "state": state,
        "run_id": lease.run_id,
        "pid": lease.pid,
        "epoch": lease.epoch,
        "lag": lease.lag,
        "beat_age_seconds": round(lease.beat_age, 1),
        "problem": lease.problem,
    }
