"""Where a stream's batches go: a Delta table with its dead letters, or a Kafka topic.

Spark's server starts a Python worker for each foreachBatch and gives it 10 s to come up, so this file, and the
transforms that it is given, import no more than pyspark and the lake's table and write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from shop_streams.lake.table import Table
from shop_streams.lake.write import append_batch
from shop_streams.streaming.checkpoint import CheckpointMetadata
from shop_streams.streaming.dead_letters import DEAD_LETTERS, as_dead_letters

if TYPE_CHECKING:
    from pyspark.sql.streaming.readwriter import DataStreamWriter

    from shop_streams.streaming.spec import StreamContext
    from shop_streams.topics import Topic

Transform = Callable[[DataFrame], DataFrame]
ValidateRecords = Callable[[DataFrame, str], DataFrame]


@dataclass(frozen=True)
class LakeSink:
    """Every record becomes a row of `table` or a dead letter, once.

    `validate(records, first day)` adds `reason` (null for a good record) and whatever `project` needs; `project(validated)`
    selects the table's columns. Both run on Spark's server, inside foreachBatch.
    """

    table: Table
    domain: str
    validate: ValidateRecords
    project: Transform

    @property
    def output_topic(self) -> Topic:
        raise NotImplementedError("it fills a table")

    def prepare(self, context: StreamContext) -> None:
        self.table.create(context.spark, context.settings)
        DEAD_LETTERS.create(context.spark, context.settings)

    def writer(self, records: DataFrame, context: StreamContext) -> DataStreamWriter:
        batches = BatchWriter(
            domain=self.domain,
            validate=self.validate,
            project=self.project,
            first_day=context.settings.first_day.isoformat(),
            uri=self.table.uri(context.settings),
            partition_by=self.table.partition_by,
            dead_letters_uri=DEAD_LETTERS.uri(context.settings),
            writer_id=CheckpointMetadata(context.spark, context.checkpoint).writer_id(),
        )
        # A bound method, not the object itself: pyspark asks a function for its signature.
        return records.writeStream.foreachBatch(batches.write)

    def attempt(self, records: DataFrame, context: StreamContext) -> None:
        validated = self.validate(records, context.settings.first_day.isoformat())
        write_nowhere(self.project(validated.where("reason is null")))


def write_nowhere(rows: DataFrame) -> None:
    """Compute every row and column, and keep none."""
    rows.write.format("noop").mode("overwrite").save()


@dataclass(frozen=True)
class BatchWriter:
    """What travels to Spark's worker: plain values, and two functions by name; `first_day` is an ISO date."""

    domain: str
    validate: ValidateRecords
    project: Transform
    first_day: str
    uri: str
    partition_by: tuple[str, ...]
    dead_letters_uri: str
    writer_id: str

    def write(self, records: DataFrame, batch_id: int) -> None:
        """Write one batch: rows first, then its dead letters if the same pass counted any.

        Both writes carry (writer_id, batch_id), so a batch that is repeated after a crash changes nothing. The
        observation is also what keeps Spark from parsing every value once for the filter and again for the rows.
        """
        seen = Observation(f"batch_{batch_id}")
        validated = self.validate(records, self.first_day)
        observed = validated.observe(seen, F.count("reason").alias("refused"))
        rows = self.project(observed.where("reason is null"))
        append_batch(rows, self.uri, self.partition_by, self.writer_id, batch_id)
        # A repeated batch is skipped without being run, and so has counted nothing: look for its dead letters again.
        if seen.get.get("refused", 1) > 0:
            refused = as_dead_letters(validated.where("reason is not null"), self.domain)
            writer_id = f"{self.writer_id}:dead_letters"
            append_batch(refused, self.dead_letters_uri, DEAD_LETTERS.partition_by, writer_id, batch_id)


@dataclass(frozen=True)
class TopicSink:
    """`transform(records, context)` makes `key` and `value` columns, sent to `output_topic` in update mode.

    Kafka's sink is at-least-once, so the key must make an upsert of each record.
    """

    output_topic: Topic
    transform: Callable[[DataFrame, StreamContext], DataFrame]
    table: Table | None = None

    def prepare(self, context: StreamContext) -> None:
        return None

    def writer(self, records: DataFrame, context: StreamContext) -> DataStreamWriter:
        return (
            self.transform(records, context)
            .writeStream.format("kafka")
            .option("kafka.bootstrap.servers", context.settings.kafka)
            .option("topic", self.output_topic.name)
            .outputMode("update")
        )

    def attempt(self, records: DataFrame, context: StreamContext) -> None:
        write_nowhere(self.transform(records, context))
