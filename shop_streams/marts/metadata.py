"""Metadata of a mart's materialization: numbers that Dagster plots, and a preview."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.lake.asset import column_schema
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.spec import DEPTH_COLUMN, Mart
from shop_streams.marts.version import rows_of

PREVIEW_ROWS = 24
ROW_COUNT = "dagster/partition_row_count"
SECONDS = "computed_in_seconds"  # of several partitions in one Spark job, each one's share
VERSION = "source_version"
VERSION_COLUMN = "source_rows"


@dataclass(frozen=True)
class Written:
    """What a partition has after it was written: the number of its rows, and all of them or the first ones."""

    count: int
    rows: pa.Table


def read_back(lake: Lake, mart: Mart, keys: Collection[str]) -> dict[str, Written]:
    """Partition -> what it has now, read without a JVM: all rows of a served mart, else the number and the first ones."""
    if mart.serve is None:  # a partition of raw events may have millions of rows
        counts, first = lake.row_counts(mart.table), lake.first_rows(mart.table, keys, PREVIEW_ROWS)
        return {key: Written(counts.get(key, 0), first[key]) for key in keys}
    names = [column.name for column in mart.table.columns]
    found = lake.scan(mart.table, names, keys=keys)
    column = pc.cast(found[mart.partition_column], pa.string())
    parts = {key: found.filter(pc.equal(column, key)) for key in keys}
    return {key: Written(rows.num_rows, rows) for key, rows in parts.items()}


def partition_metadata(table: Table, written: Written, version: int, depth: int | None = None) -> dict[str, Any]:
    """Row count, version and first rows of a partition. Dagster plots every number over time, so versions are text."""
    hidden = {VERSION_COLUMN, *[column.name for column in table.columns if column.personal]}
    shown = [column for column in column_schema(table).columns if column.name not in hidden]
    names = [column.name for column in shown]
    preview = [
        dg.TableRecord({name: _cell(row[name]) for name in names})
        for row in written.rows.slice(0, PREVIEW_ROWS).to_pylist()
    ]
    window = {} if depth is None else {DEPTH_COLUMN: str(depth) if depth else "full"}
    return {
        **window,
        ROW_COUNT: written.count,
        VERSION: str(version),
        VERSION_COLUMN: str(rows_of(version)),
        "preview": dg.MetadataValue.table(preview, dg.TableSchema(shown)),
    }


def _cell(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
