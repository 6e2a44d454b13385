"""The specification of a lake table, and its creation. Keep the import light: Spark's workers import this file."""

from __future__ import annotations

import re
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

_DELTA_TYPES = {"int": "integer", "bigint": "long"}  # other types have the same name in Spark and Delta
_SPARK_ALONE = re.compile(r"\b(bigint|int)\b(?!:)")  # also inside of an array or a struct; not a field's name

_NARROWER = {("long", "decimal(38,0)")}  # (on disk, in this version): a column of an earlier version keeps its type


def delta_type(spark_type: str) -> str:
    """The type as Delta names it."""
    return _SPARK_ALONE.sub(lambda found: _DELTA_TYPES[found[0]], spark_type)


class SchemaMismatch(ShopStreamsError):
    """A column of the table on disk has another type than this version writes."""


@dataclass(frozen=True)
class Column:
    """A column: name, Spark SQL type, and a comment for what the name does not say.

    A personal one is not shown in previews: Dagster keeps them, and everybody who sees its UI sees them.
    """

    name: str
    type: str
    comment: str = ""
    personal: bool = False


ORIGIN_COLUMNS = (
    Column("kafka_partition", "int", "the record's partition of its topic"),
    Column("kafka_offset", "bigint", "the record's offset in that partition"),
)


def hash_name(identity: str) -> str:
    """The name of the column with the hash of a column that identifies events."""
    return f"{identity}_hash"


@dataclass(frozen=True)
class Table:
    """A Delta table at `path` in the lake.

    `rows_are` says what one row is. `identity` is the column that identifies repeated events; "" if there is none. The table then
    gets a last column `<identity>_hash`, which streams write (streaming/sinks.py) and repeats are looked up by (earlier_ids.py).
    """

    path: str
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...]
    rows_are: str
    identity: str = ""

    def __post_init__(self) -> None:
        name = hash_name(self.identity)
        if self.identity and name not in [column.name for column in self.columns]:
            comment = f"xxhash64 of {self.identity}; null in rows of an earlier version"
            object.__setattr__(self, "columns", (*self.columns, Column(name, "bigint", comment)))

    def uri(self, settings: Settings) -> str:
        """The table's folder."""
        return f"{settings.lake}/{self.path}"

    @retry(
        retry=retry_if_exception_type(PySparkException),  # two streams may create the same table at once
        stop=stop_after_attempt(4),
        wait=wait_random(0.2, 1),
        reraise=True,
    )
    def create(self, spark: SparkSession, settings: Settings) -> None:
        """Create the table if it is missing, or add the columns that an older table lacks.

        Raises:
            SchemaMismatch: a column has another type on disk.
        """
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
            # Readers without a JVM count rows by the log. Deletion vectors would make these counts wrong.
            "TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')"
        )

    def _check_schema(self, existing: Mapping[str, str]) -> list[Column]:
        """The columns that the existing table lacks."""
        missing = []
        for column in self.columns:
            found = existing.get(column.name)
            if found is None:
                missing.append(column)
            elif found != delta_type(column.type) and (found, column.type) not in _NARROWER:
                raise SchemaMismatch(
                    f"Column {column.name} of {self.path} is {found}, and this version writes {column.type}. Move the table "
                    "and its stream's checkpoint away. The stream then reads its topic again."
                )
        return missing

    def read(self, spark: SparkSession, settings: Settings, version: int | None = None) -> DataFrame:
        """The table's rows, at a version or at the newest one."""
        reader = spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.uri(settings))
