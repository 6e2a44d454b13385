"""What a lake table is. Importing this starts no JVM, reads nothing and is light: Spark's workers do it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.errors import PySparkException
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from shop_streams.errors import ShopStreamsError
from shop_streams.lake import reader

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from shop_streams.settings import Settings

_DELTA_TYPES = {"int": "integer", "bigint": "long"}  # the other names are the same in Spark and in Delta's log

_NARROWER = {("long", "decimal(38,0)")}  # an earlier version's column, which is written on as it is


class SchemaMismatch(ShopStreamsError):
    """The table on disk has not the columns that this version writes."""


@dataclass(frozen=True)
class Column:
    """A column: its name, its type in Spark's words, and what the name does not say."""

    name: str
    type: str
    comment: str = ""


ORIGIN_COLUMNS = (
    Column("kafka_partition", "int", "the record's partition of its topic"),
    Column("kafka_offset", "bigint", "the record's offset in that partition"),
)


@dataclass(frozen=True)
class Table:
    """A Delta table: `path` below the lake's root, its columns, and those that partition it.

    `rows_are` says what one row is; `identity` is the column by which a repeated event is known, if there is one.
    """

    path: str
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...]
    rows_are: str
    identity: str = ""

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
        if (existing := reader.open_table(self.uri(settings))) is not None:
            missing = self._check_schema(dict(reader.schema(existing)))
            if missing:
                added = ", ".join(f"{column.name} {column.type}" for column in missing)
                spark.sql(f"ALTER TABLE delta.`{self.uri(settings)}` ADD COLUMNS ({added})")
            return
        columns = ", ".join(f"{column.name} {column.type}" for column in self.columns)
        partitioned = f"PARTITIONED BY ({', '.join(self.partition_by)})" if self.partition_by else ""
        spark.sql(
            f"CREATE TABLE IF NOT EXISTS delta.`{self.uri(settings)}` ({columns}) USING delta {partitioned} "
            # Readers without a JVM take row counts from the log: a deletion vector would make them wrong.
            "TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')"
        )

    def _check_schema(self, existing: Mapping[str, str]) -> list[Column]:
        """The columns that a table of an earlier version has not: they are added, null for the rows of the past."""
        missing = []
        for column in self.columns:
            found = existing.get(column.name)
            if found is None:
                missing.append(column)
                continue
            if (found, column.type) in _NARROWER:
                continue
            if found != _DELTA_TYPES.get(column.type, column.type):
                raise SchemaMismatch(
                    f"Column {column.name} of {self.path} is {found}, and this version writes {column.type}. Move the table "
                    "away together with its stream's checkpoint, and let the stream read its topic again."
                )
        return missing

    def read(self, spark: SparkSession, settings: Settings, version: int | None = None) -> DataFrame:
        """The table's rows, at a version or now."""
        reader = spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.uri(settings))
