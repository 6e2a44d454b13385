"""What a lake table is. Importing this starts no JVM, reads nothing and is light: Spark's workers do it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.errors import PySparkException
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from shop_streams.lake import log

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from shop_streams.settings import Settings


@dataclass(frozen=True)
class Column:
    """A column: its name, its type in Spark's words, and what the name does not say."""

    name: str
    type: str
    comment: str = ""


@dataclass(frozen=True)
class Table:
    """A Delta table: `path` below the lake's root, its columns, and those that partition it.

    `rows_are` says what one row is.
    """

    path: str
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...]
    rows_are: str

    def uri(self, settings: Settings) -> str:
        """Where the table is."""
        return f"{settings.lake}/{self.path}"

    @retry(
        retry=retry_if_exception_type(PySparkException),  # two streams that create the same table at once: one wins
        stop=stop_after_attempt(4),
        wait=wait_random(0.2, 1),
        reraise=True,
    )
    def create(self, spark: SparkSession, settings: Settings) -> None:
        """Create the table, empty, where it is missing."""
        if log.open_table(self.uri(settings)) is not None:
            return
        columns = ", ".join(f"{column.name} {column.type}" for column in self.columns)
        partitioned = f"PARTITIONED BY ({', '.join(self.partition_by)})" if self.partition_by else ""
        spark.sql(
            f"CREATE TABLE IF NOT EXISTS delta.`{self.uri(settings)}` ({columns}) USING delta {partitioned} "
            # Readers without a JVM take row counts from the log: a deletion vector would make them wrong.
            "TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')"
        )

    def read(self, spark: SparkSession, settings: Settings, version: int | None = None) -> DataFrame:
        """The table's rows, at a version or now."""
        reader = spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.uri(settings))
