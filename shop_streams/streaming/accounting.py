"""The accounting of records: whatever a topic holds is a row, a dead letter, or still in flight, and each of it once."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.kafka import held_offsets, topic_identity, watermarks
from shop_streams.lake import log
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS, POISONED, poisoned_in
from shop_streams.streaming.identity import require_same
from shop_streams.streaming.lease import Leases
from shop_streams.streaming.spec import StreamSpec

Ranges = Mapping[int, tuple[int, int]]
"""Kafka partition -> offsets [first, end)."""

LOOKED_THROUGH = 10_000  # offsets of a backlog that are read to tell how many records they hold
REPEAT_HORIZON = timedelta(days=7)  # a client retries within minutes; a week costs one column of a few partitions


@dataclass(frozen=True)
class PartitionAccount:
    """One Kafka partition's offsets [low, high), and what the lake holds of their records.

    `distinct` counts the offsets that arrived; `missing` the records that the stream has come to and that did not arrive;
    `in_flight` those that it has not come to yet.
    """

    partition: int
    low: int
    high: int
    rows: int
    dead_letters: int
    distinct: int
    missing: int
    in_flight: int

    @property
    def records(self) -> int:
        """Records that the topic holds, or held, in these offsets."""
        return self.distinct + self.missing + self.in_flight

    @property
    def exact(self) -> bool:
        """Every record that the stream has come to arrived, and arrived once."""
        return self.missing == 0 and self.rows + self.dead_letters == self.distinct


def accounts(spec: StreamSpec, settings: Settings, ranges: Ranges | None = None) -> list[PartitionAccount]:
    """The account of each partition of the stream's topic, for some offsets or for all that the topic holds now.

    Out of the lake's own columns; what the checkpoint has committed counts as reached even if it never arrived.

    Raises:
        TopicChanged: the topic is not the one that the stream has read; its old rows say nothing about this one.
    """
    table = spec.sink.table
    if table is None:
        raise ValueError(f"{spec.name} has no lake table to account for")
    topic = spec.topic.name
    lease = Leases(settings.postgres).read().get(spec.name)
    if lease is not None and lease.topic_identity is not None:
        require_same(topic, lease.topic_identity, topic_identity(settings.kafka, topic))
    ranges = ranges or watermarks(settings.kafka, topic)
    place = ["kafka_partition", "kafka_offset"]
    inside = _inside(ranges)
    rows = log.scan(table.uri(settings), place, inside)
    # Another stream of the topic may have stumbled over a record that is a row here.
    reason = pc.field("reason")
    ours = ~pc.starts_with(reason, POISONED) | pc.starts_with(reason, poisoned_in(spec.name))
    letters = log.scan(DEAD_LETTERS.uri(settings), place, inside & (pc.field("topic") == topic) & ours)
    committed = lease.end_offsets if lease else {}

    def holds(partition: int, first: int, end: int) -> list[int]:
        return held_offsets(settings.kafka, topic, {partition: (first, end)})[partition]

    return [
        account_of(number, low, high, _of(rows, number), _of(letters, number), committed.get(number, 0), holds)
        for number, (low, high) in sorted(ranges.items())
    ]


def account_of(
    partition: int,
    low: int,
    high: int,
    rows: pa.ChunkedArray,
    letters: pa.ChunkedArray,
    committed: int,
    holds: Callable[[int, int, int], Sequence[int]],
) -> PartitionAccount:
    """The account of offsets [low, high), given the offsets of their rows and dead letters.

    An offset that did not arrive may have no record, such as a transaction's mark: `holds(partition, first, end)` gives the
    offsets that have one. It is asked where something has not arrived only; a long backlog is not read, but estimated.
    """
    arrived = pa.chunked_array([*rows.chunks, *letters.chunks], pa.int64())
    last = pc.max(arrived).as_py()
    reached = min(high, max(low, committed, low if last is None else last + 1))
    distinct = pc.unique(arrived)
    gaps = np.setdiff1d(np.arange(low, reached), distinct.to_numpy(), assume_unique=True)
    missing = in_flight = 0
    if gaps.size:
        missing = int(np.isin(gaps, holds(partition, int(gaps[0]), int(gaps[-1]) + 1)).sum())
    if high > reached:
        backlog = high - reached
        in_flight = len(holds(partition, reached, high)) if backlog <= LOOKED_THROUGH else backlog
    return PartitionAccount(partition, low, high, len(rows), len(letters), len(distinct), missing, in_flight)


def duplicates(table: Table, settings: Settings, ranges: Ranges) -> int:
    """Rows within `ranges` whose event had arrived before them, within the week before: a client's repeats."""
    if not table.identity:
        return 0
    columns = ["kafka_partition", "kafka_offset", table.identity]
    inside = log.scan(table.uri(settings), [*columns, "event_date"], _inside(ranges))
    if inside.num_rows == 0:
        return 0
    since = pc.min(inside["event_date"]).as_py() - REPEAT_HORIZON
    before = {number: (0, low) for number, (low, _) in ranges.items()}
    earlier = log.scan(table.uri(settings), columns, _inside(before) & (pc.field("event_date") >= since))
    known = pc.is_in(inside[table.identity], value_set=pc.unique(earlier[table.identity]))
    new = inside.filter(pc.invert(known))
    return int(inside.num_rows - pc.count_distinct(new[table.identity]).as_py())


def _inside(ranges: Ranges) -> pc.Expression:
    partition, offset = pc.field("kafka_partition"), pc.field("kafka_offset")
    parts = [(partition == number) & (offset >= low) & (offset < high) for number, (low, high) in ranges.items()]
    return functools.reduce(operator.or_, parts)


def _of(table: pa.Table, partition: int) -> pa.ChunkedArray:
    if table.num_columns == 0:
        return pa.chunked_array([], pa.int64())
    return table.filter(pc.equal(table["kafka_partition"], partition))["kafka_offset"]
