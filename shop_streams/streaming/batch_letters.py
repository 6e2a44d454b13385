"""The dead letters of a batch: its second commit, after its rows.

A stream may be killed between the two commits, and started again with other rules. Then the rows are those of the earlier rules,
and letters by the new rules would miss some records and repeat others. So the letters of a repeated batch are its records that
have no row, whatever the rules say now. Spark's worker imports this file: no Dagster here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shop_streams.lake import reader
from shop_streams.lake.table import Table
from shop_streams.lake.write import append_batch
from shop_streams.streaming.checkpoint import CheckpointMetadata
from shop_streams.streaming.dead_letters import DEAD_LETTERS, as_dead_letters
from shop_streams.streaming.spans import as_sql

if TYPE_CHECKING:
    from shop_streams.streaming.spec import StreamContext

REFUSED_BEFORE = "an earlier version of the rules refused it; these rules accept it: replay it unchanged"


@dataclass(frozen=True)
class BatchLetters:
    """Writes the letters of batches in Spark's worker. It is pickled: plain values.

    `rows_uri` is the table of the stream's rows. `topic_identity` is the topic's, as in the table of forgotten records.
    """

    domain: str
    uri: str
    writer_id: str
    rows_uri: str
    forgotten_uri: str
    topic_identity: str | None

    @classmethod
    def of(cls, domain: str, rows: Table, context: StreamContext) -> BatchLetters:
        """Those of a stream whose rows go to the table `rows`."""
        # Not in the worker, which has 10 s to start.
        from shop_streams.streaming.forgotten import FORGOTTEN
        from shop_streams.streaming.identity import TOPIC_IDENTITY

        metadata = CheckpointMetadata(context.spark, context.checkpoint)
        return cls(
            domain=domain,
            uri=DEAD_LETTERS.uri(context.settings),
            writer_id=metadata.writer_id(),
            rows_uri=rows.uri(context.settings),
            forgotten_uri=FORGOTTEN.uri(context.settings),
            topic_identity=metadata.find(TOPIC_IDENTITY),
        )

    def append(self, refused: DataFrame, batch_id: int) -> None:
        """Append validated records with a `reason`; idempotent as `append_batch`."""
        letters = as_dead_letters(refused, self.domain)
        append_batch(letters, self.uri, DEAD_LETTERS.partition_by, f"{self.writer_id}:dead_letters", batch_id)

    def append_repeated(self, records: DataFrame, validate: Callable[[DataFrame], DataFrame], batch_id: int) -> None:
        """As `append`, for a batch whose rows are committed: every record without a row becomes a letter.

        It reads the batch and the rows of its offsets once more. That happens after a restart, and never to other batches.
        """
        validated = validate(self._without_row(records))
        reason = F.coalesce("reason", F.lit(REFUSED_BEFORE))
        self.append(validated.withColumn("reason", reason), batch_id)

    def _without_row(self, records: DataFrame) -> DataFrame:
        """The records that are no row of the table, and none that was removed with a person's rows."""
        spans = records.groupBy("topic", "partition").agg(F.min("offset").alias("first"), F.max("offset").alias("last"))
        found = spans.collect()
        if not found:
            return records
        # So that Delta skips files.
        inside = as_sql(
            {one.partition: [(one.first, one.last + 1)] for one in found}, "kafka_partition", "kafka_offset"
        )
        placed = self._origins(records, self.rows_uri, F.expr(inside))
        if reader.open_table(self.forgotten_uri) is not None:
            of_topic = F.col("topic") == found[0].topic
            of_topic &= F.col("topic_identity").eqNullSafe(F.lit(self.topic_identity))
            placed = placed.unionAll(self._origins(records, self.forgotten_uri, F.expr(inside) & of_topic))
        same = (F.col("partition") == F.col("kafka_partition")) & (F.col("offset") == F.col("kafka_offset"))
        return records.join(placed, same, "left_anti")

    def _origins(self, records: DataFrame, uri: str, where: Column) -> DataFrame:
        table = records.sparkSession.read.format("delta").load(uri)
        return table.where(where).select("kafka_partition", "kafka_offset")
