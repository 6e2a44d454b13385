"""The accounting of a topic: each record is exactly one row or one dead letter, or it is forgotten, or in flight.

Offsets are compared first, without reading the topic: if every offset arrived, every record arrived. For offsets that did
not arrive, the topic is read, because some offsets hold no record: transaction markers, aborted and compacted records.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import accumulate

import numpy as np
import pyarrow.compute as pc

from shop_streams.kafka import held_offsets, offset_ranges, offsets_at
from shop_streams.lake import reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import committed_offsets, metadata_without_spark, partition_shift
from shop_streams.streaming.dead_letters import DEAD_LETTERS, letters_of
from shop_streams.streaming.forgotten import FORGOTTEN, of_topic
from shop_streams.streaming.gaps import lost_offsets
from shop_streams.streaming.identity import TOPIC_IDENTITY, require_same, topic_identity, way_out
from shop_streams.streaming.ranges import Ranges, inside_of, since
from shop_streams.streaming.spans import merged
from shop_streams.streaming.spec import StreamSpec

RECENT_HOURS = 24  # a check every quarter of an hour must not read the whole table
REPEAT_HORIZON = timedelta(days=7)  # clients retry within minutes; reading a week costs one column of a few partitions
COUNTED_IN_FLIGHT = 100_000  # if more offsets are in flight, they are not read, and count as records


@dataclass(frozen=True)
class PartitionAccount:
    """The account of one Kafka partition's offsets [low, high).

    `distinct`: offsets in the lake. `missing`: records not in the lake although the stream has read past them. `in_flight`:
    records that the stream has not read yet (offsets, if they are many or in an open transaction). `forgotten`: records that
    were removed from the lake with a person's rows.
    """

    partition: int
    low: int
    high: int
    rows: int
    dead_letters: int
    distinct: int
    missing: int
    in_flight: int
    forgotten: int = 0

    @property
    def exact(self) -> bool:
        """Every record that the stream has read is in the lake exactly once."""
        return self.rows + self.dead_letters == self.distinct and self.missing == 0

    @property
    def records(self) -> int:
        """Records in these offsets."""
        return self.distinct + self.forgotten + self.missing + self.in_flight


@dataclass(frozen=True)
class TopicAccount:
    """The accounts of a topic's partitions. `lost`: offsets that Kafka had deleted before the stream read them (gaps.py)."""

    partitions: list[PartitionAccount]
    lost: int = 0

    @property
    def exact(self) -> bool:
        """Every record that the stream has read is in the lake exactly once."""
        return all(one.exact for one in self.partitions)

    @property
    def problem(self) -> str | None:
        """What is wrong, in words; None if the account is exact."""
        twice = sum(one.rows + one.dead_letters - one.distinct for one in self.partitions)
        return None if self.exact else f"records missing: {self.sums['missing']:,}; there twice: {twice:,}"

    @property
    def sums(self) -> dict[str, int]:
        """The sums. records = rows + dead_letters + forgotten + lost + in_flight + missing, unless a record arrived twice."""
        names = ("records", "rows", "dead_letters", "forgotten", "in_flight", "missing")
        found = {name: sum(getattr(one, name) for one in self.partitions) for name in names}
        return found | {"records": found["records"] + self.lost, "lost": self.lost}


@dataclass(frozen=True)
class Arrivals:
    """How often each offset of [low, high) is a row, a dead letter, or forgotten; the stream has not read `reached` and later."""

    low: int
    high: int
    rows: np.ndarray
    letters: np.ndarray
    reached: int
    forgotten: np.ndarray | int = 0

    @property
    def _arrived(self) -> np.ndarray:
        return (self.rows > 0) | (self.letters > 0)

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Offset ranges [first, end) to search for missing records; without the offsets in flight if they are many."""
        empty = np.flatnonzero(~self._arrived & (self.forgotten == 0)) + self.low
        if np.count_nonzero(empty >= self.reached) > COUNTED_IN_FLIGHT:
            empty = empty[empty < self.reached]
        return merged(empty)

    def account(self, partition: int, held: Sequence[int], stable: int) -> PartitionAccount:
        """The account. `held`: offsets in the gaps that hold a record. From `stable` on, transactions are open."""
        offsets = np.asarray(held, np.int64)
        arrived = self._arrived
        # A stream that reads its topic again brings a forgotten record back: then it is a row.
        forgotten = ~arrived & (self.forgotten > 0)
        known = arrived | forgotten
        absent = offsets[~known[offsets - self.low]]
        empty = np.flatnonzero(~known) + self.low
        waiting = np.count_nonzero(empty >= self.reached)
        if waiting <= COUNTED_IN_FLIGHT:
            undecided = np.count_nonzero(empty >= max(self.reached, stable))
            waiting = np.count_nonzero(absent >= self.reached) + undecided
        return PartitionAccount(
            partition, self.low, self.high,
            rows=int(self.rows.sum()), dead_letters=int(self.letters.sum()), distinct=int(np.count_nonzero(arrived)),
            missing=int(np.count_nonzero(absent < self.reached)), in_flight=int(waiting),
            forgotten=int(np.count_nonzero(forgotten)),
        )  # fmt: skip


def accounts(spec: StreamSpec, settings: Settings, ranges: Ranges | None = None) -> list[PartitionAccount]:
    """The account of each partition of the stream's topic, for `ranges` (by default, all offsets that the topic holds).

    Offsets that retention has deleted are left out, because their dead letters expire too.

    Raises:
        TopicChanged: the lake's rows belong to an earlier topic of this name.
    """
    table = spec.sink.table
    if table is None:
        raise ValueError(f"{spec.name} has no lake table to account for")
    servers, topic, checkpoint = settings.kafka, spec.topic.name, spec.checkpoint(settings)
    known = metadata_without_spark(checkpoint, TOPIC_IDENTITY)
    if known is not None:
        require_same(topic, known, topic_identity(servers, topic), way_out(spec.name))
    topic_ranges = offset_ranges(servers, topic)
    ranges = topic_ranges if ranges is None else _held(ranges, topic_ranges)
    if not ranges:
        return []
    # Read the checkpoint before the tables: then the tables contain everything that it calls committed.
    committed = committed_offsets(checkpoint, topic)
    # Of the offsets that the stream has not read, only those of its next batch may be in the tables. The others are in
    # flight; they are not looked at, because a topic may have a billion of them.
    most = spec.max_offsets(settings)
    ahead = {
        number: max(0, end - max(first, committed.get(number, first)) - most) for number, (first, end) in ranges.items()
    }
    ranges = {number: (first, end - ahead[number]) for number, (first, end) in ranges.items()}
    shift = partition_shift(checkpoint)
    inside = inside_of(ranges, shift)
    rows = count_offsets(table, settings, ranges, inside, shift)
    letters = count_offsets(DEAD_LETTERS, settings, ranges, inside & letters_of(spec.name, topic), shift)
    forgotten = count_offsets(FORGOTTEN, settings, ranges, inside & of_topic(topic, known), shift)
    arrived = {
        number: replace(
            arrivals(low, high, rows[number], letters[number], committed.get(number)), forgotten=forgotten[number]
        )
        for number, (low, high) in sorted(ranges.items())
    }
    stable = {number: topic_ranges.get(number, (0, 0))[1] for number in arrived}
    gaps = {
        number: [(first, min(end, stable[number])) for first, end in one.gaps if first < stable[number]]
        for number, one in arrived.items()
    }
    held = held_offsets(servers, topic, gaps)
    found = [one.account(number, held.get(number, ()), stable[number]) for number, one in arrived.items()]
    return [
        replace(one, high=one.high + ahead[one.partition], in_flight=one.in_flight + ahead[one.partition])
        for one in found
    ]


def _held(ranges: Ranges, topic_ranges: Ranges) -> Ranges:
    return {
        number: (min(end, max(first, topic_ranges.get(number, (0, 0))[0])), end)
        for number, (first, end) in ranges.items()
    }


def topic_account(spec: StreamSpec, settings: Settings, ranges: Ranges | None = None) -> TopicAccount:
    """`accounts` with their sums, for `status`, the checks and the hourly accounts. Without `ranges`, with all known gaps."""
    lost = lost_offsets(settings, spec.name, spec.topic.name) if ranges is None else 0
    return TopicAccount(accounts(spec, settings, ranges), lost)


def recent_account(spec: StreamSpec, settings: Settings) -> TopicAccount:
    """The account of the last 24 hours, and of all older offsets that the stream has not committed; gaps of these hours."""
    servers, topic = settings.kafka, spec.topic.name
    (firsts,) = offsets_at(servers, topic, [time.time() - RECENT_HOURS * 3600])
    unread = committed_offsets(spec.checkpoint(settings), topic)
    ranges = {
        number: (max(low, min(firsts.get(number, high), unread.get(number, low), high)), high)
        for number, (low, high) in offset_ranges(servers, topic).items()
    }
    lost = lost_offsets(settings, spec.name, topic, timedelta(hours=RECENT_HOURS))
    return TopicAccount(accounts(spec, settings, ranges), lost)


def arrivals(low: int, high: int, rows: np.ndarray, letters: np.ndarray, committed: int | None) -> Arrivals:
    """`Arrivals` from the counts of each offset of [low, high).

    Offsets from `committed` on may belong to a batch that is being written. None: the last one that arrived is the last read.
    """
    if committed is None:
        last = np.flatnonzero((rows > 0) | (letters > 0))
        committed = low + int(last[-1]) + 1 if len(last) else low
    return Arrivals(low, high, rows, letters, max(low, committed))


def count_offsets(
    table: Table, settings: Settings, ranges: Ranges, where: pc.Expression, shift: int
) -> dict[int, np.ndarray]:
    """Partition -> how often the table has each offset of its range; two bytes an offset, because they may be many."""
    sizes = {number: max(0, high - low) for number, (low, high) in ranges.items()}
    begins = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
    counts = np.zeros(sum(sizes.values()), np.uint16)  # of all partitions, one after the other
    place_of_0 = np.zeros(max(ranges, default=0) + 1, np.int64)  # partition -> where its offset 0 would be
    for number, begin in begins.items():
        place_of_0[number] = begin - ranges[number][0]
    found = reader.batches(table.uri(settings), ["kafka_partition", "kafka_offset"], where, prune=since(ranges))
    for batch in found if counts.size else ():  # without an offset to look for, no file is opened
        partitions = batch.column("kafka_partition").to_numpy() - shift
        np.add.at(counts, place_of_0[partitions] + batch.column("kafka_offset").to_numpy(), np.uint16(1))
    return {number: counts[begin : begin + sizes[number]] for number, begin in begins.items()}
