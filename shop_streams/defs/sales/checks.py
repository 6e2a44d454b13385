"""Parity: what the stream sent and what the mart holds must be the same, hour by hour."""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from shop_streams.defs.sales import streams
from shop_streams.defs.sales.marts import MART, window_offset
from shop_streams.defs.sales.schema import HOURLY, HOURLY_TOPIC, SHOP_EVENTS_TOPIC
from shop_streams.defs.sales.sent import Hours, SentHours, sent_hours
from shop_streams.defs.sales.transforms import HOUR
from shop_streams.kafka import offset_ranges, read_topic
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import SourceMissing
from shop_streams.marts.states import SourceStates
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import committed_offsets
from shop_streams.streaming.forgotten import forgotten_hours
from shop_streams.streaming.spec import topic_key

FIELDS = ("start_ts", "end_ts", "revenue", "visitors", "purchases", "aov")
COUNTS = ("revenue", "visitors", "purchases")
COMPARED = f"{HOURLY.path} parity_with_stream"  # the name of what the check remembers
UNREAD_LIMIT = 200_000  # a check every quarter of an hour must not read a whole topic


def last_records(settings: Settings) -> SentHours:
    """The last records of each hour that the topic holds now."""
    return sent_hours(read_topic(settings.kafka, HOURLY_TOPIC.name))


def as_counted_by_records(row: Mapping[str, Any]) -> dict[str, Any]:
    """The mart's row plus its repeats. The topic counts every record, so it must have these numbers."""
    totals = {name: int(row[name]) + int(row.get(f"repeats_{name}") or 0) for name in COUNTS}
    aov = float(totals["revenue"]) / totals["purchases"] if totals["purchases"] else None
    return {**row, **totals, "aov": aov}


@dataclass(frozen=True)
class Parity:
    """The number of hours that were compared, a text for each difference, and the numbers of hours that are not compared.

    `pending` ones can't be compared yet. In `forgotten` ones, the topic counts events that were removed from the lake. `settled`:
    day -> its hours, if all of them are equal.
    """

    compared: int
    differences: list[str]
    pending: int
    forgotten: int = 0
    settled: Mapping[str, int] = field(default_factory=dict)


def parity(
    sent: Hours,
    mart: Sequence[Mapping[str, Any]],
    up_to_date: Mapping[str, bool],
    unread: Set[int],
    now: float,
    forgotten: Set[int] = frozenset(),
) -> Parity:
    """Compare the topic with the mart's rows.

    `up_to_date` says for each day whether the mart is computed from all of the lake's rows. `unread` holds the hours
    (start_ts) of records that one of the two streams may not have read yet, `forgotten` the hours from which a person's events
    were removed. All other closed hours must be equal.
    """
    rows = {str(row["start_ts"]): as_counted_by_records(row) for row in mart}
    compared = pending = left_out = 0
    differences, hours, equal = [], Counter[str](), Counter[str]()
    for key in sorted(rows.keys() | sent.keys(), key=int):
        start = int(key)
        day = day_of(key)
        hours[day] += 1
        if start + HOUR > now or start in unread or not up_to_date.get(day, False):
            pending += 1
            continue
        # Windows may have begun at another minute when the events were removed.
        if any(start - HOUR < hour < start + HOUR for hour in forgotten):
            left_out += 1
            continue
        compared += 1
        differs = difference(rows.get(key), sent.get(key, {}))
        if differs:
            differences.append(f"hour {datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} UTC: {differs}")
        else:
            equal[day] += 1
    settled = {day: count for day, count in equal.items() if count == hours[day]}
    return Parity(compared, differences, pending, left_out, settled)


def day_of(start_ts: str) -> str:
    """The day on which an hour begins, as the mart's partition key."""
    return time.strftime("%Y-%m-%d", time.gmtime(int(start_ts)))


def by_day(sent: Hours) -> dict[str, int]:
    """Day -> a checksum of what the stream sent for its hours."""
    found: dict[str, int] = {}
    for key in sorted(sent, key=int):
        text = json.dumps([key, sent[key]], sort_keys=True).encode()
        found[day_of(key)] = zlib.crc32(text, found.get(day_of(key), 0))
    return found


def difference(mart: Mapping[str, Any] | None, topic: Mapping[int, Mapping[str, Any]]) -> str:
    """How the mart's row and the topic's values (partition -> value) differ, as a text; empty if one of them equals the row."""
    if mart is None or not topic:
        return "the topic has it, the mart does not" if mart is None else "the mart has it, the topic does not"
    texts = [
        ", ".join(
            f"{name} is {mart.get(name)} by the mart (repeats included) and {value.get(name)} by the topic"
            for name in FIELDS
            if mart.get(name) != value.get(name)
        )
        for value in topic.values()
    ]
    return "" if "" in texts else texts[-1]


def read_by_both(*committed: Mapping[int, int]) -> dict[int, int]:
    """For each partition, the first offset that one of the streams has not committed."""
    partitions = set[int]().union(*committed)
    return {number: min(offsets.get(number, 0) for offsets in committed) for number in partitions}


def hours_of(values: Iterable[bytes], offset_seconds: int) -> set[int]:
    """The hours (start_ts) of shop events. A value that is no event has no hour: it becomes a dead letter."""
    hours = set()
    for value in values:
        try:
            seconds = int(json.loads(value)["timestamp"]) // 1000
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            continue
        hours.add(seconds - (seconds - offset_seconds) % HOUR)
    return hours


@dg.asset_check(
    asset=asset_key(HOURLY),
    name="parity_with_stream",
    additional_deps=[topic_key(HOURLY_TOPIC)],
    description="For each closed hour whose records both streams have read, the topic's last record equals the mart's row plus "
    "its repeats, field by field. Of an hour in two partitions, which the topic has since it gained partitions, one of the last records "
    "must be equal. A day of equal hours is compared again once one of the two changes. Hours from which a person's events were "
    "removed (`forget-user`) are left out.",
)
def parity_with_stream(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    settings = lake.settings
    # The offsets are read first: records before them are then in the lake and counted in the topic.
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
    snapshot = lake.version(HOURLY)
    written, recorded = lake.fingerprints(HOURLY, snapshot), lake.source_versions(HOURLY, snapshot)
    sent = last_records(settings)
    ranges = offset_ranges(settings.kafka, SHOP_EVENTS_TOPIC.name)
    waiting = sum(high - max(low, read.get(number, low)) for number, (low, high) in ranges.items())
    if waiting > UNREAD_LIMIT:
        return dg.AssetCheckResult(
            passed=True,
            description=f"Nothing was compared: the streams still have {waiting:,} records to read.",
            metadata={"hours_compared": 0},
        )
    unread = hours_of(
        (record.value for record in read_topic(settings.kafka, SHOP_EVENTS_TOPIC.name, read)), window_offset(settings)
    )
    sums, states = by_day(sent.values), SourceStates(settings.postgres, COMPARED)
    numbers = {day: [written.get(day), sums.get(day)] for day in written.keys() | sums.keys()}
    saved = states.load()
    equal = {day: one for day, one in (saved or {}).items() if one[:2] == numbers.get(day)}
    changed = numbers.keys() - equal.keys()
    mart = lake.scan(
        HOURLY, [column.name for column in HOURLY.columns], version=snapshot, keys=sorted(changed & written.keys())
    ).to_pylist()
    up_to_date = {day: day in recorded and recorded[day] == versions.get(day) for day in changed}
    removed = forgotten_hours(settings, SHOP_EVENTS_TOPIC.name)
    looked_at = {key: values for key, values in sent.values.items() if day_of(key) in changed}
    result = parity(looked_at, mart, up_to_date, unread, time.time(), removed)
    equal |= {day: [*numbers[day], hours] for day, hours in result.settled.items()}
    if equal != saved:
        states.save(equal)
    compared = result.compared + sum(one[2] for day, one in equal.items() if day not in changed)
    return dg.AssetCheckResult(
        passed=not result.differences,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(result.differences[:3])
        or f"{compared} hours are equal; {result.pending} are open, or not read by both streams and the mart yet; "
        f"{result.forgotten} are left out, because events of a person were removed from the lake and the topic still counts them.",
        metadata={
            "hours_compared": compared,
            "hours_different": len(result.differences),
            "hours_pending": result.pending,
            "hours_forgotten": result.forgotten,
            "records_ignored": sent.foreign,
        },
    )
