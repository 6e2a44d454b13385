"""What the topic `hourly_metrics` says of each hour."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shop_streams.kafka import Record

# key (start_ts) -> partition -> the last value there, parsed
Hours = dict[str, dict[int, dict[str, Any]]]
LAST_SECOND = 253_402_300_799  # of the year 9999


@dataclass(frozen=True)
class SentHours:
    """The hours in the topic.

    A topic that has gained partitions may have an hour in two of them. Which record is newer is not known then.

    Attributes:
        values: the hours and their partitions, each in the order in which their last records were read.
        foreign: the number of records that are no hourly metrics, for example with a null key. They are ignored.
    """

    values: Hours
    foreign: int = 0


def sent_hours(records: Iterable[Record]) -> SentHours:
    """Read the topic's `records`, in order within a partition. One without a value deletes its key's value in its partition."""
    values: Hours = {}
    foreign = 0
    for record in records:
        key = record.key.decode(errors="replace")
        value = _parsed(key, record.value)
        if record.value and value is None:
            foreign += 1
            continue
        partitions = values.pop(key, {})
        partitions.pop(record.partition, None)
        if value is not None:
            partitions[record.partition] = value
        if partitions:
            values[key] = partitions
    return SentHours(values, foreign)


def _parsed(key: str, text: bytes) -> dict[str, Any] | None:
    """The hour's metrics; None if the record is not of this kind."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    start = value.get("start_ts")
    return value if type(start) is int and 0 <= start <= LAST_SECOND and str(start) == key else None
