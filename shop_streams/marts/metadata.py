"""What a mart's materialization shows: numbers that plot themselves, and a preview."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pyarrow.compute as pc

from shop_streams.lake import reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings

PREVIEW_ROWS = 24
ROW_COUNT = "dagster/partition_row_count"


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    if not rows:
        return "(no rows)"
    head = "| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0])
    lines = ["| " + " | ".join("" if value is None else str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join([head, *lines])


def partition_metadata(table: Table, settings: Settings, column: str, key: str) -> dict[str, Any]:
    """Row count and first rows of the partition `column` = `key`, read without a JVM."""
    uri = table.uri(settings)
    delta = reader.open_table(uri)
    assert delta is not None
    # All of the partition, not its `head`: that leaves threads behind which read ahead, and may crash the run's end.
    rows = delta.to_pyarrow_dataset().to_table(filter=pc.field(column).cast("string") == key)
    preview = rows.slice(0, PREVIEW_ROWS)
    return {
        ROW_COUNT: reader.row_counts(uri, column).get(key, 0),
        "delta_version": str(delta.version()),
        "preview": dg.MetadataValue.md(markdown_table(preview.to_pylist())),
    }
