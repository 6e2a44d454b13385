"""The accounting of a topic: every record that it holds is a row, a dead letter, or still in flight, and each of it once.

Offsets are counted first, since that costs no reading: where each has arrived, each record has. Only where some have not,
the topic itself is asked whether they hold a record. transaction markers, aborted records, and what compaction or
retention took away do not.
"""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow.compute as pc

from shop_streams.kafka import held_offsets, offset_ranges, offsets_at, topic_identity
from shop_streams.lake import reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import committed_offsets, metadata_without_spark
from shop_streams.streaming.dead_letters import DEAD_LETTERS, POISONED, poisoned_in
from shop_streams.streaming.identity import NOTE, require_same
from shop_streams.streaming.spec import StreamSpec

Ranges = Mapping[int, tuple[int, int]]
"""Kafka partition -> offsets [first, end)."""

RECENT_HOURS = 24  # a check every quarter of an hour must not read the whole table
REPEAT_HORIZON = timedelta(days=7)  # a client retries within minutes; a week costs one column of a few partitions
COUNTED_IN_FLIGHT = 100_000  # of more, what is in flight is counted in offsets: no need to read them
NEAR = 2_000  # gaps with fewer offsets between them are read in one go: that is faster than to seek


@dataclass(frozen=True)
class PartitionAccount:
    """One Kafka partition's offsets [low, high), and what the lake holds of them.

    `distinct` counts the offsets that arrived; `missing` the records that did not although the stream has passed them;
    `in_flight` the records that it has not come to yet (offsets, where they are many or not decided yet).
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
    def exact(self) -> bool:
        """Every record that the stream has come to arrived, and arrived once."""
        return self.rows + self.dead_letters == self.distinct and self.missing == 0

    @property
    def records(self) -> int:
        """Records that the topic holds, or held, in these offsets."""
        return self.distinct + self.missing + self.in_flight


@dataclass(frozen=True)
class TopicAccount:
    """The account of some offsets of a topic: the sums over its partitions."""

    partitions: list[PartitionAccount]

    @property
    def exact(self) -> bool:
        """Every record that the stream has come to arrived, and arrived once."""
        return all(one.exact for one in self.partitions)

    @property
    def sums(self) -> dict[str, int]:
        """records = rows + dead_letters + in_flight + missing, where nothing arrived twice."""
        names = ("records", "rows", "dead_letters", "in_flight", "missing")
        return {name: sum(getattr(one, name) for one in self.partitions) for name in names}


@dataclass(frozen=True)
class Arrivals:
    """How often each of the offsets [low, high) arrived, and the first offset that the stream has not come to yet."""

    low: int
    high: int
    rows: np.ndarray
    letters: np.ndarray
    reached: int

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Where to look for records that have not arrived, [first, end) each; what is in flight only if it is not too much."""
        empty = np.flatnonzero((self.rows == 0) & (self.letters == 0)) + self.low
        if np.count_nonzero(empty >= self.reached) > COUNTED_IN_FLIGHT:
            empty = empty[empty < self.reached]
        return merged(empty)

    def account(self, partition: int, held: Iterable[int], stable: int) -> PartitionAccount:
        """The account, given which offsets within the gaps hold a record. From `stable` on, transactions are open."""
        offsets = np.fromiter(held, np.int64)
        arrived = (self.rows > 0) | (self.letters > 0)
        absent = offsets[~arrived[offsets - self.low]]
        empty = np.flatnonzero(~arrived) + self.low
        waiting = np.count_nonzero(empty >= self.reached)
        if waiting <= COUNTED_IN_FLIGHT:
            undecided = np.count_nonzero(empty >= max(self.reached, stable))
            waiting = np.count_nonzero(absent >= self.reached) + undecided
        return PartitionAccount(
            partition, self.low, self.high,
            rows=int(self.rows.sum()), dead_letters=int(self.letters.sum()), distinct=int(np.count_nonzero(arrived)),
            missing=int(np.count_nonzero(absent < self.reached)), in_flight=int(waiting),
        )  # fmt: skip


def merged(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Ranges [first, end) that cover the ascending offsets; those that are near each other lie in one range."""
    if not len(offsets):
        return []
    cuts = np.flatnonzero(np.diff(offsets) > NEAR)
    firsts, lasts = offsets[np.concatenate(([0], cuts + 1))], offsets[np.concatenate((cuts, [len(offsets) - 1]))]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def accounts(spec: StreamSpec, settings: Settings, ranges: Ranges | None = None) -> list[PartitionAccount]:
    """The account of each partition of the stream's topic, for those of some offsets, or of all, that the topic holds now.

    What the stream has committed counts as reached even if it never arrived. What retention took from the topic is no part
    of any account: its dead letters expire.

    Raises:
        TopicChanged: the lake's rows belong to another topic than the one that is there now.
    """
    table = spec.sink.table
    if table is None:
        raise ValueError(f"{spec.name} has no lake table to account for")
    servers, topic, checkpoint = settings.kafka, spec.topic.name, spec.checkpoint(settings)
    pinned = metadata_without_spark(checkpoint, NOTE)
    if pinned is not None:
        require_same(topic, pinned, topic_identity(servers, topic))
    marks = offset_ranges(servers, topic)
    ranges = marks if ranges is None else _held(ranges, marks)
    if not ranges:
        return []
    # The checkpoint first: what it calls committed is in the tables by then.
    committed = committed_offsets(checkpoint, topic)
    inside = _inside(ranges)
    rows = _arrivals(table, settings, ranges, inside)
    # Another stream of the topic may have stumbled over a record that is a row here.
    reason = pc.field("reason")
    ours = ~pc.starts_with(reason, POISONED) | pc.starts_with(reason, poisoned_in(spec.name))
    letters = _arrivals(DEAD_LETTERS, settings, ranges, inside & (pc.field("topic") == topic) & ours)
    arrived = {
        number: arrivals(low, high, rows[number], letters[number], committed.get(number))
        for number, (low, high) in sorted(ranges.items())
    }
    stable = {number: marks.get(number, (0, 0))[1] for number in arrived}
    gaps = {
        number: [(first, min(end, stable[number])) for first, end in one.gaps if first < stable[number]]
        for number, one in arrived.items()
    }
    held = held_offsets(servers, topic, gaps)
    return [one.account(number, held.get(number, iter(())), stable[number]) for number, one in arrived.items()]


def _held(ranges: Ranges, marks: Ranges) -> Ranges:
    return {
        number: (min(end, max(first, marks.get(number, (0, 0))[0])), end) for number, (first, end) in ranges.items()
    }


def topic_account(spec: StreamSpec, settings: Settings, ranges: Ranges | None = None) -> TopicAccount:
    """`accounts` with their sums: what `status`, the checks and the hourly accounts say."""
    return TopicAccount(accounts(spec, settings, ranges))


def recent_account(spec: StreamSpec, settings: Settings) -> TopicAccount:
    """The account of the last 24 hours, and of all before them that the stream has not come to yet."""
    servers, topic = settings.kafka, spec.topic.name
    marks = offset_ranges(servers, topic)
    (firsts,) = offsets_at(servers, topic, [time.time() - RECENT_HOURS * 3600])
    unread = committed_offsets(spec.checkpoint(settings), topic)
    ranges = {
        number: (max(low, min(firsts.get(number, high), unread.get(number, low), high)), high)
        for number, (low, high) in marks.items()
    }
    return topic_account(spec, settings, ranges)


def arrivals(low: int, high: int, rows: np.ndarray, letters: np.ndarray, committed: int | None) -> Arrivals:
    """Counts for each offset of [low, high) as `Arrivals`. Without `committed`, the last that arrived tells how far the stream is.

    With it, what lies behind may be a batch that is just being written, rows before dead letters.
    """
    if committed is None:
        last = np.flatnonzero((rows > 0) | (letters > 0))
        committed = low + int(last[-1]) + 1 if len(last) else low
    return Arrivals(low, high, rows, letters, max(low, committed))


def _arrivals(table: Table, settings: Settings, ranges: Ranges, where: pc.Expression) -> dict[int, np.ndarray]:
    """For each partition, how often the table has each offset of its range. Two bytes an offset: a topic may hold many."""
    counts = {number: np.zeros(max(0, high - low), np.uint16) for number, (low, high) in ranges.items()}
    for batch in reader.batches(table.uri(settings), ["kafka_partition", "kafka_offset"], where):
        partitions = batch.column("kafka_partition").to_numpy()
        offsets = batch.column("kafka_offset").to_numpy()
        for number in np.unique(partitions):
            low = ranges[number][0]
            found, times = np.unique(offsets[partitions == number] - low, return_counts=True)
            counts[number][found] += times.astype(np.uint16)
    return counts


def duplicates(table: Table, settings: Settings, ranges: Ranges) -> int:
    """Rows within `ranges` whose event had arrived before them, of a day of the week before: a client's repeats."""
    known_table = reader.open_table(table.uri(settings))
    if not table.identity or known_table is None or table.identity not in dict(reader.schema(known_table)):
        return 0  # a table of an earlier version has its id's column from its stream's next start on
    columns = ["kafka_partition", "kafka_offset", table.identity]
    known_by = pc.is_valid(pc.field(table.identity))  # who has no id is nobody's repeat
    inside = reader.scan(table.uri(settings), [*columns, "event_date"], _inside(ranges) & known_by)
    if inside.num_rows == 0:
        return 0
    days = pc.unique(inside["event_date"]).to_pylist()
    week = sorted({day - timedelta(days=number) for day in days for number in range(REPEAT_HORIZON.days + 1)})
    before = {number: (0, low) for number, (low, _) in ranges.items()}
    earlier = reader.scan(table.uri(settings), columns, _inside(before) & known_by & pc.field("event_date").isin(week))
    known = pc.is_in(inside[table.identity], value_set=pc.unique(earlier[table.identity]))
    new = inside.filter(pc.invert(known))
    return int(inside.num_rows - pc.count_distinct(new[table.identity]).as_py())


def _inside(ranges: Ranges) -> pc.Expression:
    partition, offset = pc.field("kafka_partition"), pc.field("kafka_offset")
    parts = [(partition == number) & (offset >= low) & (offset < high) for number, (low, high) in ranges.items()]
    return functools.reduce(operator.or_, parts)
