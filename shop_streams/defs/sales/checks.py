"""Parity: what the stream sent and what the mart holds must be the same, hour by hour."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from shop_streams.defs.sales import streams
from shop_streams.defs.sales.marts import MART, window_offset
from shop_streams.defs.sales.schema import HOURLY, HOURLY_TOPIC, SHOP_EVENTS_TOPIC
from shop_streams.defs.sales.transforms import HOUR
from shop_streams.kafka import offset_ranges, read_topic
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import SourceMissing
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import committed_offsets
from shop_streams.streaming.spec import topic_key

FIELDS = ("start_ts", "end_ts", "revenue", "visitors", "purchases", "aov")
COUNTS = ("revenue", "visitors", "purchases")
UNREAD_LIMIT = 200_000  # a check every quarter of an hour must not read a whole topic


def last_records(settings: Settings, topic: str = HOURLY_TOPIC.name) -> dict[str, dict[str, Any]]:
    """The last record of each key that the topic holds now, as parsed JSON."""
    return {record.key.decode(): json.loads(record.value) for record in read_topic(settings.kafka, topic)}


def as_counted_by_records(row: Mapping[str, Any]) -> dict[str, Any]:
    """The mart's row with its repeats: what the topic, which counts records, must say of the hour."""
    totals = {name: int(row[name]) + int(row.get(f"repeats_{name}") or 0) for name in COUNTS}
    aov = float(totals["revenue"]) / totals["purchases"] if totals["purchases"] else None
    return {**row, **totals, "aov": aov}


@dataclass(frozen=True)
class Parity:
    """Closed hours that were compared, those that differ (in words), and those that can't be compared yet."""

    compared: int
    differences: list[str]
    pending: int


def parity(
    sent: Mapping[str, Mapping[str, Any]],
    mart: Sequence[Mapping[str, Any]],
    up_to_date: Mapping[str, bool],
    unread: Set[int],
    now: float,
) -> Parity:
    """Compare the topic with the mart's rows.

    `up_to_date` tells for each day whether the mart has all of its rows in the lake; `unread` are the hours (start_ts) of the
    records that one of the two streams may not have read yet. Other hours must be equal: both streams have read the same.
    """
    rows = {str(row["start_ts"]): as_counted_by_records(row) for row in mart}
    compared = pending = 0
    differences = []
    for key in sorted(rows.keys() | sent.keys(), key=int):
        start = int(key)
        day = time.strftime("%Y-%m-%d", time.gmtime(start))
        if start + HOUR > now or start in unread or not up_to_date.get(day, False):
            pending += 1
            continue
        compared += 1
        differs = difference(rows.get(key), sent.get(key))
        if differs:
            differences.append(f"hour {datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} UTC: {differs}")
    return Parity(compared, differences, pending)


def difference(mart: Mapping[str, Any] | None, topic: Mapping[str, Any] | None) -> str:
    """How the two differ, in words; empty if they don't."""
    if mart is None or topic is None:
        return "the topic has it, the mart does not" if mart is None else "the mart has it, the topic does not"
    return ", ".join(
        f"{name} is {mart.get(name)} by the mart (repeats included) and {topic.get(name)} by the topic"
        for name in FIELDS
        if mart.get(name) != topic.get(name)
    )


def read_by_both(*committed: Mapping[int, int]) -> dict[int, int]:
    """For each partition, the first offset that one of the streams has not committed."""
    partitions = set[int]().union(*committed)
    return {number: min(offsets.get(number, 0) for offsets in committed) for number in partitions}


def hours_of(values: Iterable[bytes], offset_seconds: int) -> set[int]:
    """The hours (start_ts) that shop events lie in; a value that is none is a dead letter, and lies in no hour."""
    hours = set()
    for value in values:
        try:
            seconds = int(json.loads(value)["timestamp"]) // 1000
        except (ValueError, TypeError, KeyError):
            continue
        hours.add(seconds - (seconds - offset_seconds) % HOUR)
    return hours


@dg.asset_check(
    asset=asset_key(HOURLY),
    name="parity_with_stream",
    additional_deps=[topic_key(HOURLY_TOPIC)],
    description="For each closed hour whose records both streams have read, the topic's last record equals the mart's row and "
    "the repeats that it leaves out, field by field.",
)
def parity_with_stream(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    settings = lake.settings
    # The offsets first: what a checkpoint calls committed is in the lake, or in the topic, by then.
    read = read_by_both(
        *[
            committed_offsets(one.checkpoint(settings), SHOP_EVENTS_TOPIC.name)
            for one in (streams.INGEST, streams.HOURLY)
        ]
    )
    try:
        versions = MART.versions(lake)
    except SourceMissing as error:
        return dg.AssetCheckResult(passed=True, description=str(error))
    mart = lake.scan(HOURLY, [column.name for column in HOURLY.columns]).to_pylist()
    up_to_date = {str(row["event_date"]): row["source_rows"] == versions.get(str(row["event_date"])) for row in mart}
    sent = last_records(settings)
    ranges = offset_ranges(settings.kafka, SHOP_EVENTS_TOPIC.name)
    waiting = sum(high - max(low, read.get(number, low)) for number, (low, high) in ranges.items())
    if waiting > UNREAD_LIMIT:
        return dg.AssetCheckResult(
            passed=True,
            description=f"Nothing was compared: the streams have {waiting:,} records to read yet.",
            metadata={"hours_compared": 0},
        )
    unread = hours_of(
        (record.value for record in read_topic(settings.kafka, SHOP_EVENTS_TOPIC.name, read)), window_offset(settings)
    )
    result = parity(sent, mart, up_to_date, unread, time.time())
    return dg.AssetCheckResult(
        passed=not result.differences,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(result.differences[:3])
        or f"{result.compared} hours are equal; {result.pending} are open, or not read by both streams and the mart yet.",
        metadata={
            "hours_compared": result.compared,
            "hours_different": len(result.differences),
            "hours_pending": result.pending,
        },
    )
