"""`shop-streams show`: what a lake table holds, without a JVM."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings, get_settings
from shop_streams.terminal import cell, escaped


def show(
    table: Annotated[str, typer.Argument(help="path below the lake, such as sales/hourly_metrics")],
    limit: Annotated[int, typer.Option("--limit", min=0, help="rows to print")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs")] = False,
) -> None:
    """Print a lake table's first rows, row count and schema, without a JVM."""
    from shop_streams.lake import reader

    settings = get_settings()
    path = table.strip("/")
    found = reader.head(f"{settings.lake}/{path}", limit)
    if found is None:
        raise ShopStreamsError(
            where_else(path, settings)
            or f"There is no table {table!r} below {settings.lake}. Has its stream run? See `shop-streams status`; "
            "tables are named in the README."
        )
    if as_json:
        body = {"table": table, "row_count": found.row_count, "version": found.version}
        body |= {"schema": dict(found.schema), "rows": found.rows}
        typer.echo(json.dumps(body, indent=2, default=str))
        return
    grid = RichTable(box=box.SIMPLE)
    for name, _ in found.schema:
        grid.add_column(cell(name), no_wrap=True)
    for row in found.rows:
        grid.add_row(*[cell("null" if row[name] is None else row[name]) for name, _ in found.schema])
    console = Console(emoji=False)
    # Values are printed whole, so that they can be copied or piped.
    Console(width=max(console.width, 400), soft_wrap=True, emoji=False).print(grid)
    console.print(f"{found.row_count} rows, version {found.version}")
    console.print("\n".join(f" |-- {escaped(name)}: {escaped(kind)}" for name, kind in found.schema), highlight=False)


SERVERS = {"kafka": "Kafka", "postgres": "PostgreSQL"}


def where_else(path: str, settings: Settings) -> str | None:
    """The message for an asset that is no lake table: its server and its page in Dagster. None for any other path."""
    from shop_streams.definitions import defs
    from shop_streams.defs.domains import TABLES

    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    if path not in specs or path in {table.path for table in TABLES}:
        return None
    kinds = specs[path].kinds
    servers = [SERVERS[kind] for kind in sorted(kinds & set(SERVERS))] if "deltalake" not in kinds else []
    where = f"it is in {' and in '.join(servers)}, whose addresses `shop-streams status` shows; " if servers else ""
    return f"{path} is an asset, and no table of the lake: {where}its page in Dagster is {settings.dagster_url}/assets/{path}"
