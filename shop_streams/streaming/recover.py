"""The way back of a stream whose checkpoint, table and topic no longer agree: where it continues, and what is lost.

The table itself tells where to continue: each row, dead letter and forgotten record has its offset. So nothing is read twice,
whatever the checkpoint remembers. The old checkpoint is moved aside and never deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import offset_ranges
from shop_streams.lake import facts, origins
from shop_streams.settings import Settings
from shop_streams.streaming import agreement
from shop_streams.streaming.batch_failures import failures_key
from shop_streams.streaming.checkpoint import (
    GENERATION,
    GENERATION_STEP,
    STARTING,
    Start,
    committed_offsets,
    first_offsets,
    metadata_without_spark,
    partition_shift,
)
from shop_streams.streaming.checkpoint_swap import replace_checkpoint
from shop_streams.streaming.continuation import PartitionPlan, Ranges, plan_partitions
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.gaps import record_gaps
from shop_streams.streaming.identity import (
    TOPIC_IDENTITY,
    RecordsLost,
    TopicChanged,
    require_unchanged,
    topic_identity,
    way_out,
)
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.state import StateLost

# Of what the table has after its first gap: each is a part of the query's filter, single offsets are a list in it.
MOST_SPANS, MOST_PLACES = 500, 10_000


class NotRecoverable(ShopStreamsError):
    """The table does not tell where the stream can continue."""


@dataclass(frozen=True)
class Plan:
    """What a recovery would do.

    `problem`: why the stream can't start now; None if it can. `generation`: of the topic, 0 for the stream's first one.
    `created_again`: the topic is another one than the table's rows come from. `committed`: partition -> first offset that the
    checkpoint has not read.
    """

    stream: str
    topic: str
    identity: str
    problem: str | None
    generation: int
    created_again: bool
    partitions: tuple[PartitionPlan, ...]
    committed: Mapping[int, int] = field(default_factory=dict)

    @property
    def needed(self) -> bool:
        """Whether the stream can't start, or would pass over records that the table lacks and Kafka holds."""
        return self.problem is not None or any(
            one.refilled and one.start < self.committed.get(one.partition, 0) for one in self.partitions
        )

    @property
    def shift(self) -> int:
        """What is added to the partitions' numbers in the table."""
        return self.generation * GENERATION_STEP

    @property
    def lost(self) -> int:
        """Offsets that Kafka has deleted and the table does not have."""
        return sum(one.lost for one in self.partitions)

    @property
    def start(self) -> Start:
        """Where the new checkpoint starts."""
        return Start(
            {one.partition: one.start for one in self.partitions},
            {one.partition: one.present for one in self.partitions if one.present},
        )


def generation_of(
    found: str, pinned: str | None, pinned_generation: int, remembered: int | None, any_remembered: bool, newest: int
) -> tuple[int, bool]:
    """The generation of the topic `found`, and whether the topic is new for the table.

    `pinned`: the topic of the checkpoint. `remembered`: the generation that the table's log has for `found`; `any_remembered`: it
    knows a topic. `newest`: the highest generation of the table's rows and the letters. If nothing says which topic they came from,
    it is taken for the present one.
    """
    if remembered is not None:
        return remembered, False
    if pinned == found:
        return pinned_generation, False
    if pinned is None and not any_remembered:
        return newest, False
    return max(newest, pinned_generation) + 1, True


def problem_of(spec: StreamSpec, settings: Settings) -> str | None:
    """Why the stream would not start from its checkpoint now; None if it would."""
    folder, topic = spec.checkpoint(settings), spec.topic.name
    try:
        agreement.require_checkpoint(spec, settings)
        metadata = _ReadOnly(folder)
        committed = committed_offsets(folder, topic)
        require_unchanged(metadata, settings.kafka, topic, committed, way_out(spec.name))  # type: ignore[arg-type]
        agreement.require_table(spec, settings)
    except (agreement.OutOfStep, StateLost, TopicChanged, RecordsLost) as problem:
        return f"{type(problem).__name__}: {problem}"
    return None


@dataclass(frozen=True)
class _ReadOnly:
    """A checkpoint's metadata that is compared and not written."""

    folder: str

    def find(self, name: str) -> str | None:
        return metadata_without_spark(self.folder, name)

    def get(self, name: str, first: Callable[[], str]) -> str:
        return self.find(name) or first()


def make_plan(spec: StreamSpec, settings: Settings) -> Plan:
    """What a recovery would do now. Nothing is changed.

    Raises:
        NotRecoverable: the topic ends before the table does, or the table has too many separate gaps.
        ShopStreamsError: the stream fills no table, or its topic does not exist.
        KafkaException: the broker does not answer.
    """
    table, topic, folder = spec.sink.table, spec.topic.name, spec.checkpoint(settings)
    if table is None:
        raise ShopStreamsError(f"{spec.name} fills the topic {spec.output.path[-1]} and no table.")
    found = topic_identity(settings.kafka, topic)
    if found is None:
        raise ShopStreamsError(f"Topic {topic} does not exist at {settings.kafka}. `shop-streams prepare` creates it.")
    uri = table.uri(settings)
    newest = max(origins.highest_partition(uri), agreement.letters_shift(settings, topic)) // GENERATION_STEP
    generation, again = generation_of(
        found,
        metadata_without_spark(folder, TOPIC_IDENTITY),
        partition_shift(folder) // GENERATION_STEP,
        facts.recall(uri, agreement.identity_fact(found)),
        facts.recall(uri, agreement.IDENTITY_KNOWN) is not None,
        newest,
    )
    shift = generation * GENERATION_STEP
    reached = agreement.ends_of_generation(uri, shift)
    log = offset_ranges(settings.kafka, topic, committed=False)
    require_inside(topic, reached, log)
    first = {} if again else first_offsets(folder, topic)
    partitions = plan_partitions(spec, settings, found, shift, log, reached, first)
    if ahead := [one.partition for one in partitions if one.reached > one.high]:
        raise NotRecoverable(
            f"The lake has dead letters with later offsets than topic {topic} (partition {', '.join(map(str, ahead))}): they are of an "
            f"earlier topic of this name. Move {DEAD_LETTERS.uri(settings)} away, and run the command again: records of this topic that "
            "broke a rule are then read again."
        )
    spans = [end - first for one in partitions for first, end in one.present]
    if (count := len(spans)) > MOST_PLACES or sum(size > 1 for size in spans) > MOST_SPANS:
        raise NotRecoverable(
            f"Table {table.path} lacks records in {count:,} separate places, which are too many to fill. Restore a newer "
            "backup of the table and of the dead letters, or move both and the checkpoint away: the topic is then read from its beginning."
        )
    problem, committed = problem_of(spec, settings), committed_offsets(folder, topic)
    return Plan(spec.name, topic, found, problem, generation, again, tuple(partitions), committed)


def require_inside(topic: str, reached: Mapping[int, int], log: Ranges) -> None:
    """Refuse a table that has later offsets than the topic; `reached`: partition -> first offset after the table's last row.

    Raises:
        NotRecoverable: names the partitions, and what to do.
    """
    ahead = {number: end for number, end in reached.items() if end > log.get(number, (0, 0))[1]}
    if ahead:
        where = ", ".join(f"partition {n}: {end}, and Kafka's is {log.get(n, (0, 0))[1]}" for n, end in ahead.items())
        raise NotRecoverable(
            f"The table's end is after the topic's ({where}). The broker has lost records, and gives their offsets to new ones. Delete "
            f"topic {topic} and create it again (`shop-streams prepare`): then every offset is told apart."
        )


def recover(spec: StreamSpec, settings: Settings, forget: Callable[[str], None]) -> tuple[Plan, str | None]:
    """Carry out the plan; returns it, and the folder where the old checkpoint is now (None if there was none).

    No run of the stream may be active. After an interruption, the next call completes what was begun. `forget(stream)` deletes
    what is known about failed batches and poisoned records.

    Raises: as `make_plan`.
    """
    why = make_plan(spec, settings).problem  # it raises before anything is changed
    assert spec.sink.table is not None
    folder, uri = spec.checkpoint(settings), spec.sink.table.uri(settings)
    agreement.remember_topic(spec, settings)  # the old one: if this is interrupted, the checkpoint may be gone
    if writer := metadata_without_spark(folder, agreement.WRITER):
        # A query of a killed run may still be active in Spark's server: from here on, Delta skips its batches.
        # The letters first: of a batch without its rows, the query would take the records for dead letters.
        facts.close_writer(DEAD_LETTERS.uri(settings), f"{writer}:dead_letters")
        facts.close_writer(uri, writer)
    number = (facts.recall(uri, agreement.RECOVERIES) or 0) + 1
    # The writer of a lost checkpoint is not known, so it can't be closed, and the checkpoint may come back.
    facts.remember(uri, {agreement.RECOVERIES: number})
    plan = replace(make_plan(spec, settings), problem=why)  # the closed writer is a problem of its own
    gaps = {one.partition: one.gaps for one in plan.partitions if one.gaps}
    record_gaps(settings, spec.name, plan.topic, plan.identity, gaps, plan.problem or "recovered")
    # The new checkpoint counts its batches from 0 again.
    for generation in {partition_shift(folder) // GENERATION_STEP, plan.generation}:
        forget(failures_key(spec.name, generation))
    notes = {
        GENERATION: str(plan.generation),
        TOPIC_IDENTITY: plan.identity,
        STARTING: plan.start.as_json(),
        agreement.RECOVERIES: str(number),
    }
    aside = replace_checkpoint(folder, notes)
    agreement.remember_topic(spec, settings)
    return plan, aside
