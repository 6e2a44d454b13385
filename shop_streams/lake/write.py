"""Idempotent writes: doing one twice leaves the table as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from tenacity import retry, retry_if_exception, retry_if_exception_type, stop_after_attempt, wait_random

from shop_streams.lake import reader

if TYPE_CHECKING:
    import pyarrow as pa

    from shop_streams.lake.table import Table
    from shop_streams.settings import Settings


def _lost_a_race(error: BaseException) -> bool:
    return isinstance(error, PySparkException) and "Concurrent" in str(error)


@retry(retry=retry_if_exception(_lost_a_race), stop=stop_after_attempt(4), wait=wait_random(0.2, 1), reraise=True)
def append_batch(rows: DataFrame, uri: str, partition_by: Sequence[str], writer_id: str, batch_id: int) -> None:
    """Append a stream's batch exactly once: Delta skips a (writer_id, batch_id) that it has already committed.

    A query that was stopped leaves its write to the server, where it may meet the same batch of its successor. Delta
    lets one of the two in; the other finds at its next try that there is nothing left to do.
    """
    (
        rows.write.format("delta")
        .mode("append")
        .partitionBy(*partition_by)
        .option("txnAppId", writer_id)
        .option("txnVersion", batch_id)
        .save(uri)
    )


@retry(
    retry=retry_if_exception_type(CommitFailedError),
    stop=stop_after_attempt(4),
    wait=wait_random(0.1, 0.3),
    reraise=True,
)
def append_small_batch(rows: pa.Table, uri: str, writer_id: str, batch_id: int) -> None:
    """`append_batch` without Spark, for a table that Spark itself does not write: tens of milliseconds instead of a second."""
    table = DeltaTable(uri)
    done = table.transaction_version(writer_id)
    if done is not None and done >= batch_id:
        return
    commit = CommitProperties(app_transactions=[Transaction(writer_id, batch_id)])
    write_deltalake(table, rows, mode="append", commit_properties=commit)


@retry(retry=retry_if_exception(_lost_a_race), stop=stop_after_attempt(4), wait=wait_random(0.2, 1), reraise=True)
def overwrite_partition(rows: DataFrame, table: Table, settings: Settings, condition: str) -> None:
    """Replace the rows for which `condition` (SQL) holds, in one commit; a reader sees all of it or none.

    Raises:
        AnalysisException: a row of `rows` lies outside of `condition`.
    """
    table.create(rows.sparkSession, settings)
    existing = reader.open_table(table.uri(settings))
    types = dict(reader.schema(existing)) if existing else {}
    # A table of an earlier version may have a narrower type than this one makes.
    columns = [F.col(one.name).cast(types.get(one.name, one.type)) for one in table.columns]
    (
        rows.select(*columns)
        .write.format("delta")
        .mode("overwrite")
        .option("replaceWhere", condition)
        .save(table.uri(settings))
    )
