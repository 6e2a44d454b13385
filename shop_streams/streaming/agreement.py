"""Whether a stream's checkpoint and its table agree. A backup that restores one of them leaves them apart.

A checkpoint without its table's memory would read records twice, and a table without its checkpoint's would lack records.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import held_offsets, offset_ranges
from shop_streams.lake import facts, origins, reader
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import (
    GENERATION_STEP,
    CheckpointMetadata,
    committed_offsets,
    has_a_place,
    last_planned,
    metadata_without_spark,
    partition_shift,
)
from shop_streams.streaming.checkpoint_swap import is_begun
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.forgotten import FORGOTTEN
from shop_streams.streaming.identity import TOPIC_IDENTITY
from shop_streams.streaming.ranges import Ranges, inside_of, since
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.state import require_state

LOOKED_AT = 10_000  # records of the topic's end, of those that are no rows
WRITER = "writer_id"
IDENTITY_KNOWN = "topic_identity_known"
RECOVERIES = "recoveries"  # their number, in the checkpoint and in the table: an earlier checkpoint has a smaller one


class OutOfStep(ShopStreamsError):
    """The checkpoint and the table are of different times."""

    next_step = "Run the command in the message."


class CheckpointLost(OutOfStep):
    """The table has rows, and the checkpoint that they were written with is gone."""


class CheckpointOlder(OutOfStep):
    """The table has batches that the checkpoint does not know."""


class RecoveryInterrupted(OutOfStep):
    """`shop-streams recover` was killed before the new checkpoint was in its place."""


class TableOlder(OutOfStep):
    """The table lacks records that the checkpoint calls committed."""


def way_back(stream: str) -> str:
    """The next step, in words."""
    return f"`shop-streams recover {stream}` shows where the stream can continue, and `--yes` does it."


def require_checkpoint(spec: StreamSpec, settings: Settings) -> None:
    """Refuse a checkpoint that would read records again that are in the table. Kafka is asked for a stream without a table.

    Raises:
        CheckpointLost, CheckpointOlder, RecoveryInterrupted, StateLost: says what differs, and which command continues.
    """
    if is_begun(spec.checkpoint(settings)):
        raise RecoveryInterrupted(
            f"A recovery of {spec.name} was interrupted: its new checkpoint is not in its place. {way_back(spec.name)}"
        )
    if spec.sink.table is None:
        require_state(spec, settings)
        require_newest_state(spec, settings)
        return
    folder, uri, path = spec.checkpoint(settings), spec.sink.table.uri(settings), spec.sink.table.path
    # The table is looked at before the checkpoint: the query of a killed run may still write, and it plans a batch first.
    writer, recoveries = metadata_without_spark(folder, WRITER), facts.recall(uri, RECOVERIES) or 0
    done = facts.recall(uri, writer) if writer else None
    rows = not has_a_place(folder) and bool(origins.ends(uri))
    planned = last_planned(folder)
    if rows and planned is None:
        raise CheckpointLost(
            f"Table {path} has rows, and the checkpoint {folder} has no batch: it was lost, and the stream would write its "
            f"records a second time. {way_back(spec.name)}"
        )
    replaced = was_replaced(folder, recoveries)
    if replaced or (done is not None and done > (-1 if planned is None else planned)):
        what = (
            "was replaced by a recovery"
            if replaced or done == facts.CLOSED
            else f"is older: the table has its batch {done}"
        )
        ends_at = "has no batch" if planned is None else f"ends at batch {planned}"
        raise CheckpointOlder(
            f"The checkpoint {folder} {ends_at}. It {what}, so the next batches would be skipped or written a second time. "
            f"{way_back(spec.name)}"
        )


def was_replaced(folder: str, recoveries: int) -> bool:
    """Whether the checkpoint is from before the last of so many recoveries."""
    return has_a_place(folder) and int(metadata_without_spark(folder, RECOVERIES) or 0) < recoveries


def require_newest_state(spec: StreamSpec, settings: Settings) -> None:
    """Refuse the checkpoint of a state from before a recovery: its sums may have what was forgotten or lost since.

    Raises:
        CheckpointOlder: says which command continues.
    """
    recovery, folder = getattr(spec.sink, "recovery", None), spec.checkpoint(settings)
    if recovery is not None and was_replaced(folder, recovery.recoveries(spec, settings)):
        raise CheckpointOlder(f"The checkpoint {folder} was replaced by a recovery. {way_back(spec.name)}")


def require_table(spec: StreamSpec, settings: Settings) -> None:
    """Refuse a table that lacks records which the checkpoint calls committed, as far as Kafka still holds them.

    Raises:
        TableOlder: names an offset, and says which command continues.
    """
    if spec.sink.table is None:
        return
    topic, folder = spec.topic.name, spec.checkpoint(settings)
    committed = committed_offsets(folder, topic) if last_planned(folder) is not None else {}
    reached = current_ends(spec, settings)
    behind = {
        number: (reached.get(number, 0), end) for number, end in committed.items() if reached.get(number, 0) < end
    }
    if not behind:
        return
    low = {number: first for number, (first, _) in offset_ranges(settings.kafka, topic, committed=False).items()}
    ranges = {number: (max(first, low.get(number, end)), end) for number, (first, end) in behind.items()}
    spans = {number: [one] for number, one in ranges.items()}
    for number, looked_at in held_offsets(settings.kafka, topic, spans, LOOKED_AT).items():
        if not looked_at:
            continue
        others = other_origins(spec, settings, {number: (looked_at[0], looked_at[-1] + 1)})
        offset = first_absent(looked_at, others.get(number, set()))
        if offset is not None:
            raise TableOlder(
                f"The checkpoint has read partition {number} of topic {topic} up to offset {committed[number]}, and table "
                f"{spec.sink.table.path} lacks record {offset}: the table is older than the checkpoint. {way_back(spec.name)}"
            )


def first_absent(offsets: Iterable[int], known: set[int]) -> int | None:
    """The first offset that is not known."""
    return next((offset for offset in offsets if offset not in known), None)


def current_ends(spec: StreamSpec, settings: Settings) -> dict[int, int]:
    """Kafka partition -> first offset after the table's last row of the present topic."""
    assert spec.sink.table is not None
    shift = partition_shift(spec.checkpoint(settings))
    return ends_of_generation(spec.sink.table.uri(settings), shift)


def ends_of_generation(uri: str, shift: int) -> dict[int, int]:
    """The ends of one generation's partitions (see `partition_shift`), by their numbers in Kafka."""
    ends = origins.ends(uri, shift, shift + GENERATION_STEP)
    return {number - shift: end for number, end in ends.items()}


def other_origins(spec: StreamSpec, settings: Settings, ranges: Ranges) -> dict[int, set[int]]:
    """Kafka partition -> offsets of the present topic's dead letters and forgotten records, in these ranges."""
    folder, topic = spec.checkpoint(settings), pc.field("topic") == spec.topic.name
    shift = partition_shift(folder)
    found: dict[int, set[int]] = {}
    for table in (DEAD_LETTERS, FORGOTTEN):
        where = topic & inside_of(ranges, shift)
        rows = reader.scan(table.uri(settings), ["kafka_partition", "kafka_offset"], where, prune=since(ranges))
        for row in rows.to_pylist():
            found.setdefault(row["kafka_partition"] - shift, set()).add(row["kafka_offset"])
    return found


def note_recoveries(metadata: CheckpointMetadata, spec: StreamSpec, settings: Settings) -> None:
    """Let a new checkpoint know how often its table was recovered, so that it is not taken for an earlier one.

    `require_checkpoint` has seen that the table has no rows.
    """
    if spec.sink.table is not None and (number := facts.recall(spec.sink.table.uri(settings), RECOVERIES)):
        metadata.get(RECOVERIES, lambda: str(number))


def identity_fact(identity: str) -> str:
    """The name under which a table remembers a topic's generation."""
    return f"topic:{identity}"


def remember_topic(spec: StreamSpec, settings: Settings) -> None:
    """Note in the table's log which topic its rows come from, so that this outlives the checkpoint."""
    folder = spec.checkpoint(settings)
    identity = metadata_without_spark(folder, TOPIC_IDENTITY)
    if spec.sink.table is None or identity is None:
        return
    generation = partition_shift(folder) // GENERATION_STEP
    facts.remember(spec.sink.table.uri(settings), {identity_fact(identity): generation, IDENTITY_KNOWN: 1})
    facts.remember(DEAD_LETTERS.uri(settings), {generation_fact(spec.topic.name): generation})


def generation_fact(topic: str) -> str:
    """The name under which the dead letters remember the present generation of a topic."""
    return f"generation:{topic}"


def letters_shift(settings: Settings, topic: str) -> int:
    """What the origin of a new dead letter of this topic adds to the partition's number (see `partition_shift`)."""
    return (facts.recall(DEAD_LETTERS.uri(settings), generation_fact(topic)) or 0) * GENERATION_STEP
