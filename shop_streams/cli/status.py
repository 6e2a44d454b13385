"""`shop-streams status`: other programs rely on the shape of its JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import psycopg2
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Column
from rich.table import Table as RichTable

from shop_streams.defs import domains as defined
from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.errors import ShopStreamsError
from shop_streams.local.health import service_states
from shop_streams.local.stopping import instance_of
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import recent_account
from shop_streams.streaming.checks import Look
from shop_streams.streaming.elsewhere import held_elsewhere
from shop_streams.streaming.keep_alive import stream_state
from shop_streams.streaming.lease import Lease, Leases
from shop_streams.streaming.patience import DATABASE_ERRORS
from shop_streams.streaming.spec import StreamSpec
from shop_streams.terminal import cell, escaped
from shop_streams.topics import copies

COUNTED = ("records", "rows", "dead_letters", "forgotten", "lost", "in_flight", "missing", "copies")  # of each topic
RARE = ("forgotten", "lost")  # a table of 80 columns has room for them because they are left out while all are 0
ELSEWHERE = "elsewhere"  # another stack on the same database runs the stream; `says` names it
STREAMS = tuple(spec.name for spec in defined.STREAMS)

Answer = TypeVar("Answer")


def collect(settings: Settings) -> dict[str, Any]:
    """Services, endpoints and streams at this moment."""
    services = service_states(settings)
    # Another home may use a stopped home's ports by now, so only running services are asked.
    runs = {name for name, service in services.items() if service["state"] != "stopped"}
    asks = "postgres" in runs
    states = streams(settings) if asks else {name: _stream(None, settings) for name in STREAMS}
    kafka = services["kafka"]["state"] == "healthy"  # one that hangs would make each question wait for its time limit
    says = _says(settings, kafka) if asks else dict.fromkeys(STREAMS, "the stack is stopped")
    return {
        "services": services,
        "endpoints": {
            "kafka_bootstrap_servers": str(settings.kafka),
            "postgres_dsn": without_secret(settings.postgres),
            "spark_remote": without_secret(settings.spark),
            "collector_url": settings.collector_url,
            "api_url": settings.api_url,
            "dagster_url": settings.dagster_url,
            "lake_uri": settings.lake,
            "community_raw_uri": settings.community_raw,
            "community_geo_uri": settings.community_geo,
        },
        "streams": {name: state | {"says": says[name]} for name, state in states.items()},
        "topics": _topics(settings, kafka),
    }


def without_secret(address: str) -> str:
    """The address without secrets: the user's password, and passwords and tokens among the parameters."""
    address = re.sub(r"(?<=://)([^/?@:]*):[^/?]*(?=@)", r"\1", address)
    return re.sub(r"([?&;\s]|^)(password|sslpassword|token)=[^&;\s]*", r"\1\2=***", address)


def _topics(settings: Settings, ask: bool) -> dict[str, dict[str, Any]]:
    """The account of each topic's last 24 hours, its `problem` in words, and its number of `copies`; None for what is not known."""
    kept: dict[str, int] = {}
    with suppress(KafkaException):
        kept = copies(settings.kafka, [spec.topic.name for spec in LAKE_STREAMS], seconds=2) if ask else {}
    totals = at_once(lambda spec: topic_totals(spec, settings, spec.topic.name in kept), LAKE_STREAMS)
    return {
        spec.topic.name: found | {"copies": kept.get(spec.topic.name) or None}
        for spec, found in zip(LAKE_STREAMS, totals, strict=True)
    }


def at_once(ask: Callable[[StreamSpec], Answer], specs: Sequence[StreamSpec]) -> list[Answer]:
    """The answers, asked for at the same time: most of it is waiting for Kafka, whose time limits would add up."""
    with ThreadPoolExecutor(len(specs)) as threads:
        return list(threads.map(ask, specs))


def topic_totals(spec: StreamSpec, settings: Settings, ask: bool) -> dict[str, Any]:
    """The account as the check `accounting` computes it; None for all numbers of a topic that was made again."""
    with suppress(KafkaException, ShopStreamsError):
        found = recent_account(spec, settings) if ask else None
        if found is not None:  # more offsets than records: transaction markers have offsets too
            offsets = sum(one.high - one.low for one in found.partitions)
            return {"offsets": offsets, **found.sums, "problem": found.problem}
    return dict.fromkeys(
        ("offsets", "records", "rows", "dead_letters", "forgotten", "lost", "in_flight", "missing", "problem")
    )


def _says(settings: Settings, ask_kafka: bool) -> dict[str, str]:
    """Each stream's condition, in the words of its check `alive`."""
    if not settings.dagster_home.is_dir():
        unknown, leases = "unknown: this home has never started Dagster", _leases(settings)
        return {
            name: held_elsewhere(leases.get(name), settings.lease_seconds, settings.home) or unknown for name in STREAMS
        }
    try:
        with instance_of(settings) as instance:
            conditions = at_once(
                lambda spec: Look(spec, settings, instance, ask_kafka).condition().says, defined.STREAMS
            )
            return dict(zip(STREAMS, conditions, strict=True))
    except DATABASE_ERRORS:
        return dict.fromkeys(STREAMS, "unknown: PostgreSQL does not answer")


def streams(settings: Settings) -> dict[str, dict[str, Any]]:
    """Each stream's state from its lease; all are resting while the database does not answer."""
    leases = _leases(settings)
    return {name: _stream(leases.get(name), settings) for name in STREAMS}


def _leases(settings: Settings) -> dict[str, Lease]:
    try:
        return Leases(settings.postgres).read()
    except psycopg2.Error:
        return {}


def _stream(lease: Lease | None, settings: Settings) -> dict[str, Any]:
    elsewhere = held_elsewhere(lease, settings.lease_seconds, settings.home)
    return {
        "state": ELSEWHERE if elsewhere else stream_state(lease, settings.lease_seconds),
        **{name: getattr(lease, name, None) for name in ("run_id", "pid", "epoch", "lag")},
        "beat_age_seconds": None if lease is None else round(lease.beat_age, 1),
        "batch_id": None if lease is None else lease.progress.get("batch_id"),
        "problem": None if lease is None else lease.problem,
    }


def print_status(state: dict[str, Any], console: Console) -> None:
    """Print the status as tables."""
    colours = {"healthy": "green", "running": "green", "starting": "yellow", "resting": "yellow", "unknown": "yellow"}
    services = RichTable("service", "state", "pid", "reason")
    for name, service in state["services"].items():
        colour = colours.get(service["state"], "red")
        services.add_row(
            name, f"[{colour}]{service['state']}[/]", str(service["pid"] or ""), cell(service.get("reason", ""))
        )
    streams = RichTable(Column("stream", no_wrap=True), "run", "epoch", "last\nbatch", "condition")
    for name, stream in state["streams"].items():
        batch = "" if stream["batch_id"] is None else str(stream["batch_id"])
        says = cell(stream["says"])
        says.stylize(colours.get(stream["state"], "red"))
        streams.add_row(name, (stream["run_id"] or "")[:8], str(stream["epoch"] or ""), batch, says)
    shown = [one for one in COUNTED if one not in RARE or any(totals[one] for totals in state["topics"].values())]
    topics = RichTable(
        Column("topic\n(24 h)", overflow="fold"),
        *(Column(one.replace("_", "\n"), no_wrap=True, justify="right") for one in shown),
    )
    for name, totals in state["topics"].items():
        topics.add_row(name, *["?" if totals[one] is None else f"{totals[one]:,}" for one in shown])
    console.print(services, streams, topics)
    single = [name for name, totals in state["topics"].items() if totals["copies"] == 1]
    if single:
        console.print(
            f"{', '.join(single)}: a record is acknowledged once one broker has it, and may be lost with that broker's disk."
        )
    for name, totals in state["topics"].items():
        if totals["problem"]:
            console.print(f"[red]{name}:[/] {totals['problem']}", highlight=False, soft_wrap=True)
    for name, stream in state["streams"].items():
        if stream["problem"]:
            console.print(f"[red]{name}:[/] {escaped(stream['problem'])}", highlight=False, soft_wrap=True)
    for name, address in state["endpoints"].items():
        console.print(f"{name:26}{escaped(address)}", highlight=False, soft_wrap=True)
