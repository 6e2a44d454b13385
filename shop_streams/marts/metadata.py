"""Metadata of a mart's materialization: numbers that Dagster plots, and a preview."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pyarrow as pa

from shop_streams.lake.asset import column_schema
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.version import rows_of

PREVIEW_ROWS = 24
ROW_COUNT = "dagster/partition_row_count"
VERSION = "source_version"
VERSION_COLUMN = "source_rows"


def partition_of(lake: Lake, table: Table, key: str) -> pa.Table:
    """All rows of a partition, read without a JVM."""
    # Not `head`: its threads go on reading ahead, and may crash the process when the run ends.
    return lake.partition(table, key)


def partition_metadata(table: Table, rows: pa.Table, version: int) -> dict[str, Any]:
    """Row count, version and first rows of a partition. Dagster plots every number over time, so versions are text."""
    shown = [column for column in column_schema(table).columns if column.name != VERSION_COLUMN]
    names = [column.name for column in shown]
    preview = [
        dg.TableRecord({name: _cell(row[name]) for name in names}) for row in rows.slice(0, PREVIEW_ROWS).to_pylist()
    ]
    return {
        ROW_COUNT: rows.num_rows,
        VERSION: str(version),
        VERSION_COLUMN: str(rows_of(version)),
        "preview": dg.MetadataValue.table(preview, dg.TableSchema(shown)),
    }


def _cell(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
