"""Start a stream's query on its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaException
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tenacity import retry, retry_if_exception, stop_after_delay

from shop_streams.kafka import offset_ranges
from shop_streams.kafka_access import require_access
from shop_streams.settings import Settings
from shop_streams.streaming import identity, records
from shop_streams.streaming.agreement import note_recoveries, remember_topic, require_checkpoint, require_table
from shop_streams.streaming.batch_failures import BatchFailures, failures_of
from shop_streams.streaming.checkpoint import CheckpointMetadata, Start, committed_offsets, partition_shift
from shop_streams.streaming.narrowing import leave_out, narrow
from shop_streams.streaming.priority import TURN_SECONDS, turn_to_start
from shop_streams.streaming.spec import StreamContext, StreamSpec

START_SECONDS = 120.0
NARROW_SECONDS = 1800.0  # narrowing reads the batch many times
MOST_DOUBLINGS = 5
KAFKA_SECONDS = 4.0


def start_limit(failures: int, narrows: bool) -> float:
    """Seconds for a start, its turn included, after so many failed runs in a row.

    The limit doubles after each failure: a first start may read the whole topic, and with a fixed limit each start would end
    before it is done. A start that hangs ends too.
    """
    limit = (TURN_SECONDS + START_SECONDS) * 2 ** min(failures, MOST_DOUBLINGS)
    return max(limit, NARROW_SECONDS) if narrows else limit


def require_kafka(spec: StreamSpec, settings: Settings) -> None:
    """Fail before Spark is waited for if Kafka refuses us. A broker that does not answer yet is asked again by `start_query`.

    Raises:
        KafkaRefused: with the next step.
    """
    with suppress(KafkaException):
        require_access(settings.kafka, [spec.topic.name], ("Read", "Describe"), KAFKA_SECONDS)
        if spec.sink.output_topic is not None:
            require_access(settings.kafka, [spec.sink.output_topic.name], ("Write", "Describe"), KAFKA_SECONDS)


def start_query(
    spec: StreamSpec, settings: Settings, spark: SparkSession, say: Callable[[str], None] = print, **trigger: Any
) -> Any:
    """Check and prepare everything, then `begin_query`; `trigger` as in `DataStreamWriter.trigger`."""
    stream = StreamContext(spark, settings, spec.name, spec.topic.name, spec.checkpoint(settings))
    metadata = CheckpointMetadata(spark, stream.checkpoint)
    known = BatchFailures(settings.postgres)
    require_checkpoint(spec, settings)
    if metadata.find(identity.TOPIC_IDENTITY) is None:  # a new checkpoint
        known.forget(failures_of(spec.name, stream.checkpoint))
        note_recoveries(metadata, spec, settings)
    metadata.require_unchanged(spec.fixed_settings(settings))
    earliest = identity.require_unchanged(
        metadata, settings.kafka, spec.topic.name, committed_offsets(stream.checkpoint, spec.topic.name),
        identity.way_out(spec.name),
    )  # fmt: skip
    require_table(spec, settings)
    spec.sink.prepare(stream)
    remember_topic(spec, settings)
    narrow(spec, stream, earliest, say)
    return begin_query(spec, stream, known.poisoned(failures_of(spec.name, stream.checkpoint)), **trigger)


def begin_query(
    spec: StreamSpec, stream: StreamContext, poisoned: Sequence[tuple[int, int]] = (), **trigger: Any
) -> Any:
    """Start the query on its checkpoint, without the records at `poisoned`, each a (partition, offset)."""
    servers, start = stream.settings.kafka, Start.of(stream.checkpoint)
    first = (
        {number: start.offsets.get(number, -2) for number in offset_ranges(servers, stream.topic)} if start else None
    )
    source = records.read_stream(
        stream.spark, servers, stream.topic, spec.max_offsets(stream.settings), spec.record_columns, first
    )
    wanted = leave_out(source, poisoned, start.present if start else {})
    if shift := partition_shift(stream.checkpoint):
        wanted = wanted.withColumn("partition", F.col("partition") + shift)
    return (
        spec.sink.writer(wanted, stream)
        .queryName(spec.name)
        .option("checkpointLocation", stream.checkpoint)
        .trigger(**trigger)
        .start()
    )


@retry(
    # Spark waits 10 s for the Python worker of a foreachBatch, which is too short on a busy machine.
    retry=retry_if_exception(lambda error: isinstance(error, PySparkException) and "connect back" in str(error)),
    stop=stop_after_delay(START_SECONDS),
    reraise=True,
)
def start_in_turn(spec: StreamSpec, settings: Settings, spark: SparkSession, say: Callable[[str], None]) -> Any:
    with turn_to_start(settings.postgres, settings.spark):
        return start_query(spec, settings, spark, say, processingTime=f"{spec.interval_seconds(settings)} seconds")
