"""A lake table as a Dagster asset."""

from __future__ import annotations

import dagster as dg

from shop_streams.lake.table import Table


def asset_key(table: Table) -> dg.AssetKey:
    """The asset key: the table's path."""
    return dg.AssetKey(table.path.split("/"))


def column_schema(table: Table) -> dg.TableSchema:
    """The columns as Dagster shows them."""
    return dg.TableSchema(
        [dg.TableColumn(column.name, column.type, description=column.comment or None) for column in table.columns]
    )
