"""A batch that fails again and again is narrowed down to the records that do it: they become dead letters, the stream goes on.

Every rule that can be stated is a rule at the endpoint. This is for what still slips through. Nothing is blamed by its looks:
a record is left out only if it fails alone, and the batch passes without it. What fails for another reason, such as a
full disk, is never blamed on a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psycopg2
import psycopg2.errors
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import record_at, topic_identity
from shop_streams.lake.write import append_small_batch
from shop_streams.postgres import short_transaction
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import PlannedBatch, planned_batch
from shop_streams.streaming.dead_letters import DEAD_LETTERS, poisoned_in
from shop_streams.streaming.records import LAST_MOMENT, read_offsets
from shop_streams.streaming.spec import StreamContext, StreamSpec

FAILURES_BEFORE = 3  # of the same batch
MOST_CULPRITS = 100
REASON_CHARACTERS = 500
DDL = """
create table if not exists batch_failures (
    stream   text primary key,
    batch_id bigint not null,
    failures integer not null
);
create table if not exists poisoned_records (
    stream          text not null,
    kafka_partition integer not null,
    kafka_offset    bigint not null,
    reason          text not null,
    found_at        timestamptz not null default clock_timestamp(),
    primary key (stream, kafka_partition, kafka_offset)
);
"""
COUNT = """
insert into batch_failures as known values (%(stream)s, %(batch_id)s, 1)
on conflict (stream) do update
   set failures = case when known.batch_id = excluded.batch_id then known.failures + 1 else 1 end,
       batch_id = excluded.batch_id
returning failures
"""


# Errors of the machine, the network or another service, as Spark, Kafka and PostgreSQL name them.
SURROUNDINGS = (
    "OutOfMemory", "No space left", "Concurrent", "ConnectionError", "Connection refused", "connect back", "Timeout",
    "org.apache.kafka.common.errors", "KafkaException", "KAFKA_DATA_LOSS", "UNAVAILABLE", "SESSION_CLOSED",
    "SESSION_CHANGED", "INVALID_HANDLE", "SparkContext was shut down", "OperationalError", "InterfaceError", "RpcError",
    "DatabaseAway",
)  # fmt: skip


class Span(NamedTuple):
    """Offsets [first, end) of a partition."""

    partition: int
    first: int
    end: int


class NotOneRecord(ShopStreamsError):
    """The batch fails, and no record of it fails alone."""


def said(error: Exception) -> str:
    """What an error says, without the stack traces of Spark's Java, which name everything that Spark can do."""
    text = str(error).split("JVM stacktrace")[0].split("\n\tat ")[0].strip()
    return f"{type(error).__name__}: {text}"


def is_of_surroundings(error: Exception) -> bool:
    """Whether no record can be blamed for the error. Of PostgreSQL's errors, only those about a value can be a record's."""
    if isinstance(error, psycopg2.Error):
        return not isinstance(
            error, (psycopg2.DataError, psycopg2.IntegrityError, psycopg2.errors.ProgramLimitExceeded)
        )
    if isinstance(error, (ShopStreamsError, OSError, MemoryError)):
        return True
    return any(words in said(error) for words in SURROUNDINGS)


def halves(spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Two parts of about the same number of spans, or of offsets when it is one span."""
    if len(spans) > 1:
        middle = len(spans) // 2
        return list(spans[:middle]), list(spans[middle:])
    (only,) = spans
    cut = (only.first + only.end) // 2
    return [Span(only.partition, only.first, cut)], [Span(only.partition, cut, only.end)]


def culprits(spans: Sequence[Span], failure: Callable[[Sequence[Span]], str | None]) -> Iterator[tuple[int, int, str]]:
    """(partition, offset, error) of each record that fails alone; `failure` tries spans and gives the error, if any.

    A part that passes is not looked into, so n culprits of m offsets take about n * 2 * log2(m) tries. A record alone is tried
    twice: an error that does not come again blames nobody.
    """
    error = failure(spans)
    if error is None:
        return
    if len(spans) == 1 and spans[0].end - spans[0].first == 1:
        again = failure(spans)
        if again is not None:
            yield spans[0].partition, spans[0].first, again
        return
    for half in halves(spans):
        yield from culprits(half, failure)


def without(spans: Sequence[Span], places: Sequence[tuple[int, int]]) -> list[Span]:
    """The spans without some (partition, offset)."""
    left = []
    for partition, first, end in spans:
        inside = sorted(offset for number, offset in places if number == partition and first <= offset < end)
        for begin, stop in zip([first, *[offset + 1 for offset in inside]], [*inside, end], strict=True):
            if stop > begin:
                left.append(Span(partition, begin, stop))
    return left


@dataclass(frozen=True)
class Narrowing:
    """What is known of failing batches and poisoned records, in the database behind `dsn`."""

    dsn: str

    def create_tables(self) -> None:
        """Create the tables where they are missing."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("select pg_advisory_xact_lock(hashtext('poisoned_records'))")  # DDL races are errors
            cursor.execute(DDL)

    def count(self, stream: str, batch_id: int) -> int:
        """Count a failure of a stream's batch; how often in a row this batch has failed."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(COUNT, {"stream": stream, "batch_id": batch_id})
            return int(cursor.fetchone()["failures"])

    def failures(self, stream: str, batch_id: int) -> int:
        """How often in a row this batch has failed."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute(
                "select failures from batch_failures where stream = %s and batch_id = %s", (stream, batch_id)
            )
            row = cursor.fetchone()
            return int(row["failures"]) if row else 0

    def poisoned(self, stream: str) -> list[tuple[int, int]]:
        """(partition, offset) of the records of its topic that a stream leaves out."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("select kafka_partition, kafka_offset from poisoned_records where stream = %s", (stream,))
            return [(row["kafka_partition"], row["kafka_offset"]) for row in cursor.fetchall()]

    def note(self, stream: str, found: Sequence[tuple[int, int, str]]) -> None:
        """Write down records that a stream leaves out from now on."""
        with short_transaction(self.dsn) as cursor:
            for partition, offset, reason in found:
                cursor.execute(
                    "insert into poisoned_records values (%s, %s, %s, %s) on conflict do nothing",
                    (stream, partition, offset, reason),
                )

    def forget(self, stream: str) -> None:
        """Forget all of a stream that begins anew: the offsets may be another topic's."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("delete from poisoned_records where stream = %s", (stream,))
            cursor.execute("delete from batch_failures where stream = %s", (stream,))


def leave_out(records: DataFrame, places: Sequence[tuple[int, int]]) -> DataFrame:
    """The records without those at some (partition, offset)."""
    for partition in sorted({number for number, _ in places}):
        offsets = [offset for number, offset in places if number == partition]
        records = records.where(~((F.col("partition") == partition) & F.col("offset").isin(offsets)))
    return records


def spans_of(batch: PlannedBatch, earliest: Mapping[int, int]) -> list[Span]:
    """The offsets of a batch that is planned; one that begins a partition begins at its `earliest` offset."""
    return [
        Span(partition, batch.start.get(partition, earliest.get(partition, 0)), end)
        for partition, end in sorted(batch.end.items())
        if end > batch.start.get(partition, earliest.get(partition, 0))
    ]


def due(spec: StreamSpec, settings: Settings) -> PlannedBatch | None:
    """The stream's next batch if it has failed often, else None."""
    batch = planned_batch(spec.checkpoint(settings), spec.topic.name)
    if batch is None or Narrowing(settings.postgres).failures(spec.name, batch.batch_id) < FAILURES_BEFORE:
        return None
    return batch


def narrow(spec: StreamSpec, context: StreamContext, earliest: Mapping[int, int], say: Callable[[str], None]) -> int:
    """If the stream's next batch has failed often, find the records that do it and leave them out; how many were found.

    Raises:
        NotOneRecord: the batch fails, and leaving out the records that fail alone does not help; or whatever is tried fails.
        Exception: an error that no record can be blamed for; nothing is noted then.
    """
    settings, topic = context.settings, spec.topic.name
    batch = due(spec, settings)
    known = Narrowing(settings.postgres)
    if batch is None:
        return 0
    spans = without(spans_of(batch, earliest), known.poisoned(spec.name))
    say(f"batch {batch.batch_id} has failed {FAILURES_BEFORE} times or more: narrowing it down, {len(spans)} spans")

    passed = 0

    def failure(some: Sequence[Span]) -> str | None:
        nonlocal passed
        if not some:  # of a batch whose every record fails nothing is left, and nothing fails
            return None
        try:
            spec.sink.attempt(read_offsets(context.spark, settings.kafka, topic, some, spec.record_columns), context)
        except Exception as error:  # whatever a value can cause: what it can't, is raised again
            if is_of_surroundings(error):
                raise
            return said(error)[:REASON_CHARACTERS]
        passed += 1
        return None

    found = []
    for one in culprits(spans, failure):
        found.append(one)
        say(f"record {topic}:{one[0]}:{one[1]} fails: {one[2][:200]}")
        if len(found) >= MOST_CULPRITS:
            break
    if len(found) >= MOST_CULPRITS and not passed:
        raise NotOneRecord(
            f"Whatever was tried of batch {batch.batch_id} fails, so it is not its records: {found[0][2]} Mend the cause; the "
            "stream tries again."
        )
    left = failure(without(spans, [(partition, offset) for partition, offset, _ in found])) if found else failure(spans)
    if left is not None and len(found) < MOST_CULPRITS:
        raise NotOneRecord(
            f"Batch {batch.batch_id} fails, and no record of it fails alone: {left} Mend the cause; the stream tries again."
        )
    _bury(spec, settings, found)
    known.note(spec.name, found)  # after the letters: until then the batch goes on failing, and is narrowed again
    return len(found)


def _bury(spec: StreamSpec, settings: Settings, found: Sequence[tuple[int, int, str]]) -> None:
    """Make a dead letter of each, once."""
    topic, uri = spec.topic.name, DEAD_LETTERS.uri(settings)
    identity = topic_identity(settings.kafka, topic)
    for partition, offset, reason in found:
        milliseconds, value = record_at(settings.kafka, topic, partition, offset)
        letter = {
            "domain": pa.array([spec.domain]),
            "topic": pa.array([topic]),
            "kafka_partition": pa.array([partition], pa.int32()),
            "kafka_offset": pa.array([offset], pa.int64()),
            "raw": pa.array([value], pa.binary()),
            "reason": pa.array([f"{poisoned_in(spec.name)}{reason}"]),
            "at": pa.array([min(max(milliseconds * 1000, 0), LAST_MOMENT)], pa.timestamp("us", "UTC")),
        }
        append_small_batch(pa.table(letter), uri, f"poisoned:{spec.name}:{identity}:{partition}:{offset}", 0)
