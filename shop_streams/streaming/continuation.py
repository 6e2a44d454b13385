"""Where a stream can continue in each partition of its topic, from the offsets that its table, its letters and the topic have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from shop_streams.kafka import held_offsets
from shop_streams.lake import reader
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import count_offsets
from shop_streams.streaming.checkpoint import GENERATION_STEP
from shop_streams.streaming.dead_letters import DEAD_LETTERS, letters_of
from shop_streams.streaming.forgotten import FORGOTTEN, of_topic
from shop_streams.streaming.ranges import Ranges, inside_of
from shop_streams.streaming.spans import Span, between, length, merged
from shop_streams.streaming.spec import StreamSpec

AT_ONCE = 4_000_000  # offsets of each partition: two bytes each
NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class PartitionPlan:
    """Where one partition continues.

    The topic holds offsets [low, high). `reached`: first offset after the last one in the lake. `start`: first offset to read.
    `present`: spans from `start` on that are in the lake and not read again. `gaps`: what Kafka deleted and the lake lacks.
    `refilled`: the number of records before `reached` that the lake lacks and Kafka holds.
    """

    partition: int
    low: int
    high: int
    reached: int
    start: int
    present: tuple[Span, ...] = ()
    gaps: tuple[Span, ...] = ()
    refilled: int = 0

    @property
    def to_read(self) -> int:
        """The number of offsets that the stream will read of what the topic holds now."""
        return max(0, self.high - self.start - length(self.present))

    @property
    def lost(self) -> int:
        """The number of offsets in the gaps."""
        return length(self.gaps)


def plan_partition(partition: int, held: Span, rows_end: int, others: np.ndarray, absent: np.ndarray) -> PartitionPlan:
    """The plan of one partition.

    Args:
        held: offsets [low, high) of the topic.
        rows_end: first offset after the table's last row.
        others: ascending offsets of dead letters and forgotten records.
        absent: ascending offsets that Kafka holds, before the lake's last one, and that are not in the lake.
    """
    low, high = held
    reached = max(rows_end, int(others[-1]) + 1 if len(others) else 0)
    start = int(absent[0]) if len(absent) else max(reached, low)
    gone = others[(others >= rows_end) & (others < low)]
    return PartitionPlan(
        partition, low, high, reached, start,
        present=between(start, reached, absent),
        gaps=between(rows_end, low, gone),
        refilled=len(absent),
    )  # fmt: skip


def plan_partitions(
    spec: StreamSpec,
    settings: Settings,
    identity: str,
    shift: int,
    log: Ranges,
    rows_end: Mapping[int, int],
    first: Mapping[int, int],
) -> list[PartitionPlan]:
    """The plan of each partition.

    Args:
        log: offsets of the topic.
        rows_end: partition -> first offset after the table's last row.
        first: partition -> offset at which the stream first started. What Kafka had deleted before that is not lost.
    """
    assert spec.sink.table is not None
    others = _others(spec, settings, identity, shift)
    ends = {
        number: max(rows_end.get(number, 0), int(others[number][-1]) + 1 if len(others.get(number, NONE)) else 0)
        for number in log
    }
    absent: dict[int, list[np.ndarray]] = {number: [] for number in log}
    for ranges in _pieces({number: (low, min(ends[number], high)) for number, (low, high) in log.items()}):
        arrived = count_offsets(spec.sink.table, settings, ranges, inside_of(ranges, shift), shift)
        empty = {
            number: np.setdiff1d(np.flatnonzero(arrived[number] == 0) + first, others.get(number, NONE))
            for number, (first, _) in ranges.items()
        }
        gaps = {number: merged(offsets) for number, offsets in empty.items()}
        for number, held in held_offsets(settings.kafka, spec.topic.name, gaps).items():
            absent[number].append(np.intersect1d(np.asarray(held), empty[number]))
    others = _others(spec, settings, identity, shift)  # again: a row may have been forgotten while the rows were read
    return [
        plan_partition(
            number,
            held,
            max(rows_end.get(number, 0), first.get(number, 0)),
            others.get(number, NONE),
            np.setdiff1d(np.concatenate([NONE, *absent[number]]), others.get(number, NONE)),
        )
        for number, held in sorted(log.items())
    ]


def _pieces(ranges: Ranges) -> Iterator[dict[int, Span]]:
    """The ranges in pieces of at most `AT_ONCE` offsets of each partition; empty ones are left out."""
    begun = 0
    while left := {n: (first + begun, end) for n, (first, end) in ranges.items() if first + begun < end}:
        yield {number: (first, min(end, first + AT_ONCE)) for number, (first, end) in left.items()}
        begun += AT_ONCE


def _others(spec: StreamSpec, settings: Settings, identity: str, shift: int) -> dict[int, np.ndarray]:
    """Partition -> ascending offsets of the stream's dead letters and of forgotten records."""
    partition = pc.field("kafka_partition")
    here = (partition >= shift) & (partition < shift + GENERATION_STEP)
    letters = here & letters_of(spec.name, spec.topic.name)
    found: dict[int, list[np.ndarray]] = {}
    # Recorded while the stream had no checkpoint, a forgotten record has no identity.
    forgotten = here & (of_topic(spec.topic.name, identity) | of_topic(spec.topic.name, None))
    for table, where in ((DEAD_LETTERS, letters), (FORGOTTEN, forgotten)):
        for batch in reader.batches(table.uri(settings), ["kafka_partition", "kafka_offset"], where):
            partitions, offsets = batch.column("kafka_partition").to_numpy() - shift, batch.column("kafka_offset")
            for number in np.unique(partitions):
                found.setdefault(int(number), []).append(offsets.to_numpy()[partitions == number])
    return {number: np.unique(np.concatenate(some)).astype(np.int64) for number, some in found.items()}
