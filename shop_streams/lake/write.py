"""Idempotent writes to Delta tables: a repeated write changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from tenacity import (
    Retrying,
    retry,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random,
    wait_random_exponential,
)

from shop_streams.lake import reader

if TYPE_CHECKING:
    import pyarrow as pa

    from shop_streams.lake.table import Table
    from shop_streams.settings import Settings

# For commits without Spark. Spark writes the checkpoints of the Delta log, with its streams' transaction ids.
COMMIT_ONLY = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def _lost_a_race(error: BaseException) -> bool:
    return isinstance(error, PySparkException) and "Concurrent" in str(error)


def append_batch(rows: DataFrame, uri: str, partition_by: Sequence[str], writer_id: str, batch_id: int) -> bool:
    """Append a stream's batch exactly once: Delta skips a (writer_id, batch_id) that it has already committed.

    The write of a stopped query may still run on the server when the next query repeats the batch. Delta accepts one of the
    two commits. The other is retried, finds its batch committed, and writes nothing.

    Returns whether the first attempt succeeded. If not, the other write of the batch may be the one that is committed.
    """
    attempts = Retrying(
        retry=retry_if_exception(_lost_a_race), stop=stop_after_attempt(4), wait=wait_random(0.2, 1), reraise=True
    )
    attempts(_append, rows, uri, partition_by, writer_id, batch_id)
    return bool(attempts.statistics["attempt_number"] == 1)


def _append(rows: DataFrame, uri: str, partition_by: Sequence[str], writer_id: str, batch_id: int) -> None:
    (
        rows.write.format("delta")
        .mode("append")
        .partitionBy(*partition_by)
        .option("txnAppId", writer_id)
        .option("txnVersion", batch_id)
        .save(uri)
    )


def is_committed(uri: str, writer_id: str, batch_id: int) -> bool:
    """Whether the table holds the batch of this writer, or a later one."""
    return _has_batch(DeltaTable(uri), writer_id, batch_id)


def _has_batch(table: DeltaTable, writer_id: str, batch_id: int) -> bool:
    done = table.transaction_version(writer_id)
    return done is not None and done >= batch_id


# For a commit without Spark that lost a race: streams append, dead letters of files are replaced, the maintenance merges files.
repeat_commit = retry(
    retry=retry_if_exception_type(CommitFailedError),
    stop=stop_after_attempt(8) & stop_after_delay(20),  # a machine that is busy may lose many times in a row
    wait=wait_random_exponential(0.1, max=2),
    reraise=True,
)


@repeat_commit
def append_small_batch(rows: pa.Table, uri: str, writer_id: str, batch_id: int) -> bool:
    """`append_batch` without Spark: tens of milliseconds instead of a second. Returns whether these rows were committed."""
    table = DeltaTable(uri)
    if _has_batch(table, writer_id, batch_id):
        return False
    commit = CommitProperties(app_transactions=[Transaction(writer_id, batch_id)])
    write_deltalake(table, rows, mode="append", commit_properties=commit)
    return True


@repeat_commit
def append_rows(rows: pa.Table, table: Table, settings: Settings) -> None:
    """Append rows without Spark; creates the table. Rows of a commit whose answer was lost may be there twice."""
    write_deltalake(
        table.uri(settings),
        rows,
        mode="append",
        partition_by=list(table.partition_by),
        post_commithook_properties=COMMIT_ONLY,
    )


def in_partitions(table: Table, keys: Collection[str]) -> str:
    """The SQL condition for the rows of these partitions."""
    column = table.partition_by[0]
    type_ = next(one.type for one in table.columns if one.name == column)
    literals = ", ".join(f"cast('{key}' as {type_})" for key in keys)
    return f"{column} in ({literals})"


@retry(retry=retry_if_exception(_lost_a_race), stop=stop_after_attempt(4), wait=wait_random(0.2, 1), reraise=True)
def overwrite_partition(rows: DataFrame, table: Table, settings: Settings, condition: str) -> None:
    """Replace the rows for which `condition` (SQL) holds with `rows`, in one commit.

    Raises:
        AnalysisException: a row of `rows` does not fulfil `condition`.
    """
    table.create(rows.sparkSession, settings)
    existing = reader.open_table(table.uri(settings))
    types = dict(reader.schema(existing)) if existing else {}
    # A column of an earlier version keeps its narrower type.
    columns = [F.col(one.name).cast(types.get(one.name, one.type)) for one in table.columns]
    (
        rows.select(*columns)
        .write.format("delta")
        .mode("overwrite")
        .option("replaceWhere", condition)
        .save(table.uri(settings))
    )
