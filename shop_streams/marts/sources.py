"""Sources of marts: a lake table, and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import dagster as dg
import psycopg2
from pyspark.sql import DataFrame, SparkSession

from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Column, Table
from shop_streams.marts.spec import Computation, SourceMissing
from shop_streams.marts.version import version_of
from shop_streams.postgres import transaction

VersionsOf = Callable[[Lake, int], Mapping[str, int]]


@dataclass(frozen=True)
class LakeSource:
    """A lake table. `read` returns all rows at one version of the table.

    `versions_of`: (lake, version of the table) -> version of each partition of the mart. By default, a partition's version
    is its number of rows. This is right for a table that only grows and has the same partitions as the mart.
    `mapping`: the table's partitions that a partition reads, for the lineage; by default those of the same time.
    `missing`: why there is no table yet, and what to do.
    """

    table: Table
    versions_of: VersionsOf | None = None
    mapping: dg.PartitionMapping | None = None
    missing: str = "its stream has not written a batch. Is the stream's keep-alive sensor on? See the Automation page."

    @property
    def deps(self) -> tuple[dg.AssetDep, ...]:
        return (dg.AssetDep(asset_key(self.table), partition_mapping=self.mapping),)

    def snapshot(self, lake: Lake) -> int:
        version = lake.version(self.table)
        if version is None:
            raise SourceMissing(f"{self.table.path} does not exist yet: {self.missing}")
        return version

    def versions(self, lake: Lake, snapshot: int) -> Mapping[str, int]:
        return self.versions_of(lake, snapshot) if self.versions_of else lake.row_counts(self.table, snapshot)

    def read(self, spark: SparkSession, lake: Lake, computation: Computation) -> DataFrame:
        return self.table.read(spark, lake.settings, computation.snapshot)


@dataclass(frozen=True, kw_only=True)
class PostgresSource:
    """Rows that PostgreSQL computes. They pass through this process, so they must be few.

    Attributes:
        versions_sql: selects partition key, number of rows, and further numbers for the version.
        rows_sql: selects `columns` for the partition `%(key)s`.
    """

    deps: tuple[dg.AssetKey, ...]
    versions_sql: str
    rows_sql: str
    columns: tuple[Column, ...]

    def snapshot(self, lake: Lake) -> int:
        return 0

    def versions(self, lake: Lake, snapshot: int) -> Mapping[str, int]:
        try:
            with transaction(lake.settings.postgres) as cursor:
                cursor.execute(self.versions_sql)
                return {str(key): version_of(*numbers) for key, *numbers in cursor.fetchall()}
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as error:
            raise SourceMissing(
                f"PostgreSQL lacks a table or column of this version: {error.diag.message_primary}. The stream creates it at its start."
            ) from error

    def read(self, spark: SparkSession, lake: Lake, computation: Computation) -> DataFrame:
        with transaction(lake.settings.postgres) as cursor:
            cursor.execute(self.rows_sql, {"key": computation.key})
            rows = cursor.fetchall()
        return spark.createDataFrame(rows, ", ".join(f"{column.name} {column.type}" for column in self.columns))
