"""Sinks of streams: a Delta table with dead letters, or a Kafka topic.

Spark's server gives the Python worker of a foreachBatch 10 s to start. So this file and the transforms of the domains must not
import Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from shop_streams.lake.table import Table, hash_name
from shop_streams.lake.write import append_batch
from shop_streams.streaming.batch_letters import BatchLetters
from shop_streams.streaming.dead_letters import DEAD_LETTERS

if TYPE_CHECKING:
    from pyspark.sql.streaming.readwriter import DataStreamWriter

    from shop_streams.settings import Settings
    from shop_streams.streaming.spec import StreamContext
    from shop_streams.streaming.state import StateRecovery
    from shop_streams.topics import Topic

Transform = Callable[[DataFrame], DataFrame]
ValidateRecords = Callable[..., DataFrame]
"""(records, first day, **parameters) -> validated records."""


@dataclass(frozen=True)
class LakeSink:
    """Every record becomes exactly one row of `table` or one dead letter.

    `validate(records, first day, **parameters)` adds `reason` (null for a good record) and the input of `project`;
    `project(validated)` selects the table's columns, without the hash of its identity. Both run on Spark's server, in
    foreachBatch. The settings are not there: `parameters` takes out of them what `validate` needs beside the first day.
    """

    table: Table
    domain: str
    validate: ValidateRecords
    project: Transform
    parameters: Callable[[Settings], Mapping[str, str]] = lambda _settings: {}
    output_topic: Topic | None = None

    def validated(self, records: DataFrame, settings: Settings) -> DataFrame:
        """The records with `reason`."""
        return self.validate(records, settings.first_day.isoformat(), **self.parameters(settings))

    def prepare(self, context: StreamContext) -> None:
        self.table.create(context.spark, context.settings)
        DEAD_LETTERS.create(context.spark, context.settings)

    def writer(self, records: DataFrame, context: StreamContext) -> DataStreamWriter:
        batches = BatchWriter(
            validate=partial(self.validate, **self.parameters(context.settings)),
            project=self.project,
            first_day=context.settings.first_day.isoformat(),
            partition_by=self.table.partition_by,
            identity=self.table.identity,
            letters=BatchLetters.of(self.domain, self.table, context),
        )
        # A bound method, because pyspark inspects the signature.
        return records.writeStream.foreachBatch(batches.write)

    def attempt(self, records: DataFrame, context: StreamContext) -> None:
        write_nowhere(self.project(self.validated(records, context.settings).where("reason is null")))


def write_nowhere(rows: DataFrame) -> None:
    """Compute every row and column, and write nothing."""
    rows.write.format("noop").mode("overwrite").save()


@dataclass(frozen=True)
class BatchWriter:
    """Writes batches in Spark's worker. It is pickled: plain values, and functions by name; `first_day` is an ISO date."""

    validate: ValidateRecords
    project: Transform
    first_day: str
    partition_by: tuple[str, ...]
    identity: str
    letters: BatchLetters

    def write(self, records: DataFrame, batch_id: int) -> None:
        """Write one batch: rows first, then its dead letters if the same pass counted any.

        Both writes carry (writer_id, batch_id), so a repeated batch changes nothing. With the observation, Spark validates
        every record once, not once for the filter and once for the rows.
        """
        seen = Observation(f"batch_{batch_id}")
        validated = self._validated(records)
        observed = validated.observe(seen, F.count("reason").alias("refused"))
        rows, letters = self.project(observed.where("reason is null")), self.letters
        if self.identity:
            rows = rows.withColumn(hash_name(self.identity), F.xxhash64(self.identity))
        alone = append_batch(rows, letters.rows_uri, self.partition_by, letters.writer_id, batch_id)
        # Delta skips a repeated batch without running it, so there is no count.
        refused = seen.get.get("refused") if alone else None
        if refused is None:
            letters.append_repeated(records, self._validated, batch_id)
        elif refused > 0:
            letters.append(validated.where("reason is not null"), batch_id)

    def _validated(self, records: DataFrame) -> DataFrame:
        return self.validate(records, self.first_day)


@dataclass(frozen=True)
class TopicSink:
    """`transform(records, context)` returns `key` and `value` columns, which are sent to `output_topic` in update mode.

    Kafka's sink is at-least-once, so consumers must be able to upsert by key. `recovery`: how a lost state comes back.
    """

    output_topic: Topic
    transform: Callable[[DataFrame, StreamContext], DataFrame]
    table: Table | None = None
    recovery: StateRecovery | None = None

    def prepare(self, context: StreamContext) -> None:
        return None

    def writer(self, records: DataFrame, context: StreamContext) -> DataStreamWriter:
        return (
            self.transform(records, context)
            .writeStream.format("kafka")
            .options(**context.settings.kafka.spark())
            .option("topic", self.output_topic.name)
            .outputMode("update")
        )

    def attempt(self, records: DataFrame, context: StreamContext) -> None:
        write_nowhere(self.transform(records, context))
