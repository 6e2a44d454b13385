"""Narrowing: find the records that make a batch fail again and again. They become dead letters, and the stream continues.

This is for poisoned records: they pass the rules and still break the batch. A record is left out only if it fails alone and
the batch passes without it. Errors of the surroundings, such as a full disk, are never blamed on a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import psycopg2
import psycopg2.errors
import pyarrow as pa
from pyspark.sql import DataFrame

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import record_at
from shop_streams.lake.write import append_small_batch
from shop_streams.settings import Settings
from shop_streams.streaming.batch_failures import BatchFailures, failures_of
from shop_streams.streaming.checkpoint import PlannedBatch, Start, partition_shift, planned_batch
from shop_streams.streaming.dead_letters import DEAD_LETTERS, HEADERS, poisoned_in
from shop_streams.streaming.identity import topic_identity
from shop_streams.streaming.query import RESTARTED, said
from shop_streams.streaming.records import LAST_MOMENT, read_offsets
from shop_streams.streaming.spans import as_sql
from shop_streams.streaming.spec import StreamContext, StreamSpec

FAILURES_BEFORE = 3  # of the same batch
MOST_CULPRITS = 100
REASON_CHARACTERS = 500

# Errors of the machine, the network or another service, as Spark, Kafka and PostgreSQL name them.
SURROUNDINGS = (
    "OutOfMemory", "No space left", "Concurrent", "ConnectionError", "Connection refused", "connect back", "Timeout",
    "org.apache.kafka.common.errors", "KafkaException", "KAFKA_DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED",
    "OperationalError", "InterfaceError", "RpcError", *RESTARTED,
)  # fmt: skip


class Span(NamedTuple):
    """Offsets [first, end) of a partition."""

    partition: int
    first: int
    end: int


class NotOneRecord(ShopStreamsError):
    """The batch fails, and no single record of it fails alone."""


def is_of_surroundings(error: Exception) -> bool:
    """Whether no record can cause this error. Of PostgreSQL's errors, a record can cause only errors about a value."""
    if isinstance(error, psycopg2.Error):
        return not isinstance(
            error, (psycopg2.DataError, psycopg2.IntegrityError, psycopg2.errors.ProgramLimitExceeded)
        )
    if isinstance(error, (ShopStreamsError, OSError, MemoryError)):
        return True
    return any(words in said(error) for words in SURROUNDINGS)


def halves(spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Two parts with about the same number of spans; a single span is split by offsets."""
    if len(spans) > 1:
        middle = len(spans) // 2
        return list(spans[:middle]), list(spans[middle:])
    (only,) = spans
    cut = (only.first + only.end) // 2
    return [Span(only.partition, only.first, cut)], [Span(only.partition, cut, only.end)]


def culprits(spans: Sequence[Span], failure: Callable[[Sequence[Span]], str | None]) -> Iterator[tuple[int, int, str]]:
    """(partition, offset, error) of each record that fails alone; `failure` tries spans and returns the error or None.

    A part that passes is not split further, so n culprits in m offsets take about n * 2 * log2(m) tries. A single record is a
    culprit only if it fails twice.
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


def without(spans: Sequence[Span], left_out: Sequence[tuple[int, int]]) -> list[Span]:
    """The spans without the (partition, offset) in `left_out`."""
    return outside(spans, [Span(partition, offset, offset + 1) for partition, offset in left_out])


def outside(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The parts of the spans that are in no other one."""
    remaining = list(spans)
    for other in others:
        remaining = [part for one in remaining for part in _parts(one, other)]
    return remaining


def _parts(one: Span, other: Span) -> list[Span]:
    """What is left of one span without the other one."""
    if one.partition != other.partition:
        return [one]
    parts = (one._replace(end=min(one.end, other.first)), one._replace(first=max(one.first, other.end)))
    return [part for part in parts if part.end > part.first]


def leave_out(
    records: DataFrame,
    places: Sequence[tuple[int, int]],
    spans: Mapping[int, Sequence[tuple[int, int]]],
) -> DataFrame:
    """The records without those at `places`, each a (partition, offset), and those of the spans, partition -> offsets [first, end)."""
    of = {number: list(some) for number, some in spans.items()}
    for number, offset in places:
        of.setdefault(number, []).append((offset, offset + 1))
    return records.where(f"not ({as_sql(of)})") if of else records


def spans_of(batch: PlannedBatch, earliest: Mapping[int, int]) -> list[Span]:
    """The offsets of a planned batch. In a partition without a start, it starts at the `earliest` offset."""
    return [
        Span(partition, batch.start.get(partition, earliest.get(partition, 0)), end)
        for partition, end in sorted(batch.end.items())
        if end > batch.start.get(partition, earliest.get(partition, 0))
    ]


def _failures(spec: StreamSpec, settings: Settings, batch: PlannedBatch) -> int:
    key = failures_of(spec.name, spec.checkpoint(settings))
    return BatchFailures(settings.postgres).failures(key, batch.batch_id)


def due(spec: StreamSpec, settings: Settings) -> PlannedBatch | None:
    """The stream's next batch if it has failed at least `FAILURES_BEFORE` times, else None."""
    batch = planned_batch(spec.checkpoint(settings), spec.topic.name)
    if batch is None or _failures(spec, settings, batch) < FAILURES_BEFORE:
        return None
    return batch


def narrow(spec: StreamSpec, context: StreamContext, earliest: Mapping[int, int], say: Callable[[str], None]) -> int:
    """If the next batch is `due`, find its poisoned records and store them as left out; return their number.

    Raises:
        NotOneRecord: the batch also fails without the records that fail alone, or every part of it fails.
        Exception: an error that no record can cause; nothing is stored then.
    """
    settings, topic = context.settings, spec.topic.name
    batch = due(spec, settings)
    known, key = BatchFailures(settings.postgres), failures_of(spec.name, spec.checkpoint(settings))
    if batch is None:
        return 0
    start = Start.of(spec.checkpoint(settings))
    present = [Span(number, *one) for number, some in (start.present if start else {}).items() for one in some]
    spans = without(outside(spans_of(batch, earliest), present), known.poisoned(key))
    say(f"batch {batch.batch_id} has failed {FAILURES_BEFORE} times or more: narrowing it down, {len(spans)} spans")

    passed = 0

    def failure(some: Sequence[Span]) -> str | None:
        nonlocal passed
        if not some:  # all records were left out
            return None
        try:
            spec.sink.attempt(read_offsets(context.spark, settings.kafka, topic, some, spec.record_columns), context)
        except Exception as error:  # a value can cause any error
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
            f"Every part of batch {batch.batch_id} fails, so its records are not the cause: {found[0][2]} Mend the cause; the "
            "stream tries again."
        )
    remaining = (
        failure(without(spans, [(partition, offset) for partition, offset, _ in found])) if found else failure(spans)
    )
    if remaining is not None and len(found) < MOST_CULPRITS:
        raise NotOneRecord(
            f"Batch {batch.batch_id} fails, and no record of it fails alone: {remaining} Mend the cause; the stream tries again."
        )
    _write_letters(spec, settings, found)
    known.record_poisoned(key, found)  # last: after a crash before this line, the batch is narrowed again
    return len(found)


def _write_letters(spec: StreamSpec, settings: Settings, found: Sequence[tuple[int, int, str]]) -> None:
    """Write a dead letter for each (partition, offset, reason); idempotent."""
    topic, uri = spec.topic.name, DEAD_LETTERS.uri(settings)
    identity, shift = topic_identity(settings.kafka, topic), partition_shift(spec.checkpoint(settings))
    for partition, offset, reason in found:
        record = record_at(settings.kafka, topic, partition, offset)
        headers = [{"key": name, "value": value} for name, value in list(record.headers() or ())]
        letter = {
            "domain": pa.array([spec.domain]),
            "topic": pa.array([topic]),
            "kafka_partition": pa.array([partition + shift], pa.int32()),
            "kafka_offset": pa.array([offset], pa.int64()),
            "raw": pa.array([record.value()], pa.binary()),
            "reason": pa.array([f"{poisoned_in(spec.name)}{reason}"]),
            "at": pa.array([min(max(record.timestamp()[1] * 1000, 0), LAST_MOMENT)], pa.timestamp("us", "UTC")),
            "key": pa.array([record.key()], pa.binary()),
            "headers": pa.array([headers], HEADERS),
            "file": pa.nulls(1, pa.string()),
            "line": pa.nulls(1, pa.int64()),
        }
        append_small_batch(pa.table(letter), uri, f"poisoned:{spec.name}:{identity}:{partition}:{offset}", 0)
