"""Parity: what the stream sent and what the mart holds must be the same, hour by hour."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from shop_streams.defs.sales.marts import source_rows_by_day
from shop_streams.defs.sales.schema import HOURLY, HOURLY_TOPIC
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.lake.asset import asset_key
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming.spec import topic_key

FIELDS = ("start_ts", "end_ts", "revenue", "visitors", "purchases", "aov")
COUNTS = ("revenue", "visitors", "purchases")


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
    """Closed hours that were compared, those that differ (in words), and those that the mart has yet to follow."""

    compared: int
    differences: list[str]
    pending: int


def parity(
    sent: Mapping[str, Mapping[str, Any]],
    mart: Sequence[Mapping[str, Any]],
    up_to_date: Mapping[str, bool],
    now: float,
) -> Parity:
    """Compare the topic with the mart's rows. `up_to_date` tells for each day whether the mart has its newest rows."""
    rows = {str(row["start_ts"]): as_counted_by_records(row) for row in mart}
    compared = pending = 0
    differences = []
    for key in sorted(rows.keys() | sent.keys(), key=int):
        day = time.strftime("%Y-%m-%d", time.gmtime(int(key)))
        if int(key) + 3600 > now or not up_to_date.get(day, False):
            pending += 1
            continue
        compared += 1
        ours, theirs = (
            [source[key].get(field) for field in FIELDS] if key in source else None for source in (rows, sent)
        )
        if ours != theirs:
            differences.append(f"{key}: mart {ours}, topic {theirs}")
    return Parity(compared, differences, pending)


@dg.asset_check(
    asset=asset_key(HOURLY),
    name="parity_with_stream",
    additional_deps=[topic_key(HOURLY_TOPIC)],
    description="For each closed hour the topic's last record equals the mart's row and the repeats that it leaves out, field by field.",
)
def parity_with_stream() -> dg.AssetCheckResult:
    settings = get_settings()
    mart = reader.scan(HOURLY.uri(settings), [column.name for column in HOURLY.columns])
    recorded = reader.source_versions(HOURLY.uri(settings), "event_date")
    up_to_date = {day: recorded.get(day) == rows for day, rows in source_rows_by_day(settings).items()}
    result = parity(last_records(settings), mart.to_pylist(), up_to_date, time.time())
    return dg.AssetCheckResult(
        passed=not result.differences,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(result.differences[:3]) or None,
        metadata={
            "hours_compared": result.compared,
            "hours_different": len(result.differences),
            "hours_pending": result.pending,
        },
    )
