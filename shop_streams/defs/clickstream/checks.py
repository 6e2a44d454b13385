"""The checks of the statistics of items: PostgreSQL has the same rows, and no row is impossible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow.compute as pc

from shop_streams.defs.clickstream.schema import ITEM_STATS
from shop_streams.defs.clickstream.serving import ORDERS, SERVED, USERS
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts.serve import PostgresTable
from shop_streams.postgres import transaction

NEWEST = 48  # half hours: a check every quarter of an hour must not read the whole table


def each_half_hour(lake: Lake, keys: Sequence[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each of these half hours and the mart's rows of it. A row in Python takes many times what it takes in Arrow's table."""
    found = lake.scan(ITEM_STATS, [column.name for column in ITEM_STATS.columns], keys=keys)
    for key in keys:
        yield key, found.filter(pc.field("half_hour") == key).to_pylist() if found.num_columns else []


def differences(
    table: PostgresTable, rows: Sequence[Mapping[str, Any]], served: Sequence[tuple[Any, ...]]
) -> list[str]:
    """A text for each row that PostgreSQL lacks, has with other values, or has although the mart does not."""
    names = [column.name for column in table.columns]
    chosen = (table.row(row["half_hour"], row) for row in rows)
    wanted = {tuple(row[name] for name in names) for row in chosen if row is not None}
    return [
        *[f"{table.name} lacks {row}" for row in sorted(wanted - set(served))],
        *[f"{table.name} has {row}, the lake does not" for row in sorted(set(served) - wanted)],
    ]


@dg.asset_check(
    asset=asset_key(ITEM_STATS),
    name="postgres_equals_lake",
    description=f"The newest {NEWEST} half hours are the same in PostgreSQL and in the lake, row by row.",
)
def postgres_equals_lake(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    dsn = lake.settings.postgres
    served, recorded = SERVED.versions(dsn), lake.source_versions(ITEM_STATS)
    # Other half hours wait for the repair sensor. It is not an error.
    keys = sorted(key for key, version in recorded.items() if served.get(key) == version)[-NEWEST:]
    problems = []
    with transaction(dsn) as cursor:
        for key, rows in each_half_hour(lake, keys):
            for table in (USERS, ORDERS):
                names = ", ".join(column.name for column in table.columns)
                end = table.partition(key)
                cursor.execute(f"select {names} from {table.name} where {table.partition_column} = %s", (end,))
                problems += differences(table, rows, cursor.fetchall())
    changed = SERVED.versions(dsn) != served or lake.source_versions(ITEM_STATS) != recorded
    return dg.AssetCheckResult(
        passed=changed or not problems,
        description="A half hour was computed meanwhile: nothing was compared."
        if changed
        else "; ".join(problems[:5]) or None,
        metadata={"half_hours_compared": 0 if changed else len(keys), "differences": 0 if changed else len(problems)},
    )


def impossible(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A text for each row that can't be: depth is at least 1 where there are views, and null elsewhere."""
    return [
        f"{row['half_hour']} {row['shop']} {row['item_id']}: {row['views']} views of depth {row['deep']}, {row['orders']} orders"
        for row in rows
        if (row["deep"] is not None and row["deep"] >= 1) != (row["views"] > 0)
        or row["orders"] < 0
        or not row["views"] + row["orders"]
    ]


@dg.asset_check(
    asset=asset_key(ITEM_STATS),
    name="views_have_depth",
    description=f"In the newest {NEWEST} half hours, each row has views or orders, and views have a depth of at least 1.",
)
def views_have_depth(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    wrong, count = [], 0
    for _, rows in each_half_hour(lake, sorted(lake.source_versions(ITEM_STATS))[-NEWEST:]):
        wrong += impossible(rows)
        count += len(rows)
    return dg.AssetCheckResult(
        passed=not wrong,
        description="; ".join(wrong[:5]) or None,
        metadata={"rows": count, "rows_wrong": len(wrong)},
    )
