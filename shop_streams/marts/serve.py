"""A mart's copy in PostgreSQL, for readers that need answers within milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from shop_streams.lake.table import Column
from shop_streams.postgres import run_ddl, transaction

VERSIONS_DDL = """
create table if not exists served_versions (
    name      text not null,
    partition text not null,
    version   int8 not null,
    primary key (name, partition)
)
"""
RECORD_VERSION = """
insert into served_versions values (%s, %s, %s)
on conflict (name, partition) do update set version = excluded.version
"""


@dataclass(frozen=True)
class PostgresTable:
    """The table `name` with some `columns` of a mart, with PostgreSQL's types.

    A partition and its version are replaced in one transaction.
    """

    name: str
    columns: tuple[Column, ...]
    partition_column: str

    def replace(self, dsn: str, key: str, version: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace the partition `key` with `rows`, which may have more columns; idempotent."""
        names = [column.name for column in self.columns]
        self._create(dsn)
        with transaction(dsn) as cursor:
            cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"served table {self.name}",))
            cursor.execute(f"delete from {self.name} where {self.partition_column} = %s", (key,))
            values = [[row[name] for name in names] for row in rows]
            execute_values(cursor, f"insert into {self.name} ({', '.join(names)}) values %s", values)
            cursor.execute(RECORD_VERSION, (self.name, key, version))

    def versions(self, dsn: str) -> dict[str, int]:
        """Partition -> version; {} before the first `replace`."""
        try:
            with transaction(dsn) as cursor:
                cursor.execute("select partition, version from served_versions where name = %s", (self.name,))
                return dict(cursor.fetchall())
        except psycopg2.errors.UndefinedTable:
            return {}

    def _create(self, dsn: str) -> None:
        columns = ", ".join(f"{column.name} {column.type}" for column in self.columns)
        table = f"create table if not exists {self.name} ({columns})"
        index = f"create index if not exists {self.name}_partition on {self.name} ({self.partition_column})"
        run_ddl(dsn, "served_versions", f"{VERSIONS_DDL}; {table}; {index}")
