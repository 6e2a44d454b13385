"""What `shop-streams status --json` says; the shape is an interface that others build on."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import psycopg2
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table as RichTable

from shop_streams.defs import domains as defined
from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.errors import ShopStreamsError
from shop_streams.local.health import service_states
from shop_streams.local.stopping import instance_of
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import recent_account
from shop_streams.streaming.checks import Look
from shop_streams.streaming.keep_alive import stream_state
from shop_streams.streaming.lease import Lease, Leases
from shop_streams.streaming.patience import DATABASE_ERRORS
from shop_streams.streaming.spec import StreamSpec
from shop_streams.terminal import cell, escaped
from shop_streams.topics import copies

COUNTED = ("records", "rows", "dead_letters", "in_flight", "missing", "copies")  # of each topic
STREAMS = tuple(spec.name for spec in defined.STREAMS)


def collect(settings: Settings) -> dict[str, Any]:
    """Services, endpoints and streams at this moment."""
    services = service_states(settings)
    # A port of a stopped home may be another home's by now: what does not run is not asked.
    runs = {name for name, service in services.items() if service["state"] != "stopped"}
    asks = "postgres" in runs
    states = streams(settings) if asks else {name: _stream(None, settings) for name in STREAMS}
    says = _says(settings, "kafka" in runs) if asks else dict.fromkeys(STREAMS, "the stack is stopped")
    return {
        "services": services,
        "endpoints": {
            "kafka_bootstrap_servers": settings.kafka,
            "postgres_dsn": without_secret(settings.postgres),
            "spark_remote": without_secret(settings.spark),
            "collector_url": settings.collector_url,
            "api_url": settings.api_url,
            "dagster_url": settings.dagster_url,
            "lake_uri": settings.lake,
        },
        "streams": {name: state | {"says": says[name]} for name, state in states.items()},
        "topics": _topics(settings, "kafka" in runs),
    }


def without_secret(address: str) -> str:
    """The address without what only its owner may know: the password of a user, a token or password among the parameters."""
    address = re.sub(r"(?<=://)([^/?@:]*):[^/?]*(?=@)", r"\1", address)
    return re.sub(r"([?&;\s]|^)(password|sslpassword|token)=[^&;\s]*", r"\1\2=***", address)


def _topics(settings: Settings, ask: bool) -> dict[str, dict[str, int | None]]:
    """Where all of each topic's last 24 hours is, and its `copies`; None for what does not answer."""
    kept: dict[str, int] = {}
    with suppress(KafkaException):
        kept = copies(settings.kafka, [spec.topic.name for spec in LAKE_STREAMS], seconds=2) if ask else {}
    return {
        spec.topic.name: topic_totals(spec, settings, spec.topic.name in kept)
        | {"copies": kept.get(spec.topic.name) or None}
        for spec in LAKE_STREAMS
    }


def topic_totals(spec: StreamSpec, settings: Settings, ask: bool) -> dict[str, int | None]:
    """As the check `accounting` counts; None too for a topic that is another one than the stream's."""
    with suppress(KafkaException, ShopStreamsError):
        found = recent_account(spec, settings) if ask else None
        if found is not None:  # more offsets than records: a transaction's marker has an offset, too
            return {"offsets": sum(one.high - one.low for one in found.partitions), **found.sums}
    return dict.fromkeys(("offsets", "records", "rows", "dead_letters", "in_flight", "missing"))


def _says(settings: Settings, ask_kafka: bool) -> dict[str, str]:
    """How each stream is, in the words of its check `alive`."""
    if not settings.dagster_home.is_dir():
        return dict.fromkeys(STREAMS, "unknown: this home has never started Dagster")
    try:
        with instance_of(settings) as instance:
            return {spec.name: Look(spec, settings, instance, ask_kafka).condition().says for spec in defined.STREAMS}
    except DATABASE_ERRORS:
        return dict.fromkeys(STREAMS, "unknown: PostgreSQL does not answer")


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


def print_status(state: dict[str, Any], console: Console) -> None:
    """The same for people."""
    colours = {"healthy": "green", "running": "green", "starting": "yellow", "resting": "yellow"}
    services = RichTable("service", "state", "pid", "reason")
    for name, service in state["services"].items():
        colour = colours.get(service["state"], "red")
        services.add_row(
            name, f"[{colour}]{service['state']}[/]", str(service["pid"] or ""), cell(service.get("reason", ""))
        )
    streams = RichTable("stream", "state", "run", "epoch", "how it is")
    for name, stream in state["streams"].items():
        colour = colours.get(stream["state"], "red")
        streams.add_row(
            name, f"[{colour}]{stream['state']}[/]", (stream["run_id"] or "")[:8], str(stream["epoch"] or ""),
            cell(stream["says"]),
        )  # fmt: skip
    topics = RichTable("topic (24 h)", *(name.replace("_", " ") for name in COUNTED))
    for name, totals in state["topics"].items():
        topics.add_row(name, *["?" if totals[one] is None else f"{totals[one]:,}" for one in COUNTED])
    console.print(services, streams, topics)
    single = [name for name, totals in state["topics"].items() if totals["copies"] == 1]
    if single:
        console.print(
            f"{', '.join(single)}: a record is acknowledged once one broker has it, and may be lost with that broker's disk."
        )
    for name, stream in state["streams"].items():
        if stream["problem"]:
            console.print(f"[red]{name}:[/] {escaped(stream['problem'])}", highlight=False, soft_wrap=True)
    for name, address in state["endpoints"].items():
        console.print(f"{name:26}{escaped(address)}", highlight=False, soft_wrap=True)
