"""Where a stream's batches go: a Delta table with its dead letters, or a Kafka topic."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from shop_streams.lake.table import Table
from shop_streams.lake.write import append_batch
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import CheckpointNotes
from shop_streams.streaming.dead_letters import DEAD_LETTERS, as_dead_letters
from shop_streams.streaming.spec import StreamContext

if TYPE_CHECKING:
    from pyspark.sql.streaming.readwriter import DataStreamWriter

Judge = Callable[[DataFrame, Settings], DataFrame]


@dataclass(frozen=True)
class LakeSink:
    """Every record becomes a row of `table` or a dead letter, once.

    `judge(records, settings)` adds `reason` (null for a good record) and whatever `rows` needs; `rows(judged)`
    selects the table's columns. Both run on Spark's server, inside foreachBatch.
    """

    table: Table
    domain: str
    judge: Judge
    rows: Callable[[DataFrame], DataFrame]

    def prepare(self, context: StreamContext) -> None:
        self.table.create(context.spark, context.settings)
        DEAD_LETTERS.create(context.spark, context.settings)

    def writer(self, records: DataFrame, context: StreamContext) -> DataStreamWriter:
        # Tied to the checkpoint: a new checkpoint counts its batches from 0 again, and must not be taken for the old.
        writer_id = CheckpointNotes(context.spark, context.checkpoint).get("writer_id", lambda: uuid.uuid4().hex)
        return records.writeStream.foreachBatch(
            partial(write_batch, sink=self, settings=context.settings, writer_id=writer_id)
        )


def write_batch(records: DataFrame, batch_id: int, *, sink: LakeSink, settings: Settings, writer_id: str) -> None:
    """Write one batch: rows first, then its dead letters if the same pass counted any.

    Both writes carry (writer_id, batch_id), so a batch that is repeated after a crash changes nothing. The
    observation is also what keeps Spark from parsing every value once for the filter and again for the rows.
    """
    seen = Observation(f"batch_{batch_id}")
    judged = sink.judge(records, settings)
    observed = judged.observe(seen, F.count("reason").alias("refused"))
    rows = sink.rows(observed.where("reason is null"))
    append_batch(rows, sink.table, sink.table.uri(settings), writer_id, batch_id)
    # A repeated batch is skipped without being run, and so has counted nothing: look for its dead letters again.
    if seen.get.get("refused", 1) > 0:
        refused = as_dead_letters(judged.where("reason is not null"), sink.domain)
        append_batch(refused, DEAD_LETTERS, DEAD_LETTERS.uri(settings), f"{writer_id}:dead_letters", batch_id)


@dataclass(frozen=True)
class TopicSink:
    """`transform(records, context)` makes `key` and `value` columns, sent to `topic` in update mode.

    Kafka's sink is at-least-once, so the key must make an upsert of each record.
    """

    topic: str
    transform: Callable[[DataFrame, StreamContext], DataFrame]
    table: Table | None = None

    def prepare(self, context: StreamContext) -> None:
        return None

    def writer(self, records: DataFrame, context: StreamContext) -> DataStreamWriter:
        return (
            self.transform(records, context)
            .writeStream.format("kafka")
            .option("kafka.bootstrap.servers", context.settings.kafka)
            .option("topic", self.topic)
            .outputMode("update")
        )
