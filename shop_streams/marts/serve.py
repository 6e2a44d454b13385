"""A mart's copy in PostgreSQL, for readers that need answers within milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from shop_streams.errors import ShopStreamsError
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
COLUMNS = """
select attname, format_type(atttypid, atttypmod), attnotnull and not atthasdef and attidentity = ''
  from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
"""
KEY = """
select attname from pg_attribute join pg_index on attrelid = indrelid and attnum = any(indkey)
 where indrelid = to_regclass(%s) and indisprimary
"""
PAGE_ROWS = 5_000
NOT_SERVED = -1  # stands for the version of a partition that differs between PostgreSQL and the lake
# A column's type -> PostgreSQL's names of the types that can take its values.
_TAKEN_BY = {
    "int": {"integer", "bigint", "numeric"},
    "int8": {"bigint", "numeric"},
    "float8": {"double precision"},
    "text": {"text", "character varying"},
    "date": {"date"},
}

Row = Mapping[str, Any]


class TableDiffers(ShopStreamsError):
    """A table in PostgreSQL has the name of a served one, and other columns or another primary key."""


@dataclass(frozen=True)
class PostgresTable:
    """The table `name` with `columns` of PostgreSQL's types.

    Attributes:
        partition_column: the column that holds the partition.
        primary_key: its columns; without one, the partition's column has an index.
        partition: partition key -> its value in `partition_column`.
        row: (partition key, row of the mart) -> the row here, which may have more columns; None for none.
    """

    name: str
    columns: tuple[Column, ...]
    partition_column: str
    primary_key: tuple[str, ...] = ()
    partition: Callable[[str], Any] = str
    row: Callable[[str, Row], Row | None] = lambda _key, row: row

    def ddl(self) -> str:
        """SQL that creates the table, with the columns' comments."""
        columns = [f"{column.name} {column.type}" for column in self.columns]
        if self.primary_key:
            columns.append(f"primary key ({', '.join(self.primary_key)})")
        statements = [f"create table {self.name} ({', '.join(columns)})"]
        if not self.primary_key:
            statements.append(f"create index {self.name}_partition on {self.name} ({self.partition_column})")
        for column in self.columns:
            words = column.comment.replace("'", "''")
            statements.append(f"comment on column {self.name}.{column.name} is '{words}'")
        return "; ".join(statements)

    def check(self, found: Sequence[tuple[str, str, bool]], key: Collection[str]) -> None:
        """Compare the columns with the existing table's, (name, type, whether an insert must give it a value), and its `key`.

        Raises:
            TableDiffers: a column is missing, has a type that can't take our values, or is one that we have no value for; or
                its primary key is not ours.
        """
        types = {name: kind for name, kind, _ in found}
        problems = []
        for column in self.columns:
            wanted, kind = column.type.split()[0], types.get(column.name)
            if kind is None:
                problems.append(f"it has no column {column.name} ({wanted})")
            elif kind not in _TAKEN_BY[wanted]:
                problems.append(f"its column {column.name} is {kind}, not {wanted}")
        ours = {column.name for column in self.columns}
        problems += [f"its column {name} needs a value" for name, _, needed in found if needed and name not in ours]
        if self.primary_key and set(key) != set(self.primary_key):
            problems.append(f"its primary key is not ({', '.join(self.primary_key)}): ALTER TABLE can set it")
        if problems:
            raise TableDiffers(
                f"PostgreSQL has a table {self.name} that this version can't fill: {'; '.join(problems)}. Rename that table, or "
                "set SHOP_STREAMS_POSTGRES_DSN to a database without it. The sensor then computes these partitions again."
            )

    def replace(self, cursor: Any, key: str, rows: Iterable[Row]) -> None:
        """Replace the partition `key` in the cursor's transaction."""
        cursor.execute(f"delete from {self.name} where {self.partition_column} = %s", (self.partition(key),))
        names = [column.name for column in self.columns]
        chosen = (self.row(key, row) for row in rows)
        values = [[storable(row[name]) for name in names] for row in chosen if row is not None]
        execute_values(cursor, f"insert into {self.name} ({', '.join(names)}) values %s", values, page_size=PAGE_ROWS)


@dataclass(frozen=True)
class PostgresCopy:
    """The copy of a mart, in one or more tables. A partition and its version are replaced in one transaction.

    `name` is the mart's, in the table served_versions.
    """

    name: str
    tables: tuple[PostgresTable, ...]

    def replace(self, dsn: str, key: str, version: int, rows: Sequence[Row]) -> None:
        """Replace the partition `key` with `rows` in all tables; idempotent.

        Raises:
            TableDiffers: a table exists with other columns, or another primary key.
        """
        self._create(dsn)
        with transaction(dsn) as cursor:
            cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"served table {self.name}",))
            for table in self.tables:
                table.replace(cursor, key, rows)
            cursor.execute(RECORD_VERSION, (self.name, key, version))

    def versions(self, dsn: str) -> dict[str, int]:
        """Partition -> version; {} before the first `replace`, and when a table is missing: all is served again then."""
        try:
            with transaction(dsn) as cursor:
                cursor.execute(
                    "select partition, version from served_versions where name = %s"
                    " and not exists (select from unnest(%s::text[]) t where to_regclass(t) is null)",
                    (self.name, [table.name for table in self.tables]),
                )
                return dict(cursor.fetchall())
        except psycopg2.errors.UndefinedTable:
            return {}

    def _create(self, dsn: str) -> None:
        """Create the missing tables, and check the others. Versions of a copy that has lost a table are forgotten."""
        run_ddl(dsn, "served_versions", VERSIONS_DDL)
        with transaction(dsn) as cursor:
            cursor.execute("select pg_advisory_xact_lock(hashtext('served_versions'))")
            for table in self.tables:
                cursor.execute(COLUMNS, (table.name,))
                if found := cursor.fetchall():
                    cursor.execute(KEY, (table.name,))
                    table.check(found, [name for (name,) in cursor.fetchall()])
                else:
                    cursor.execute("delete from served_versions where name = %s", (self.name,))
                    cursor.execute(table.ddl())


def storable(value: Any) -> Any:
    """The value as PostgreSQL can store it: a text can't have a NUL."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value


def agreed(in_lake: Mapping[str, int], in_postgres: Mapping[str, int]) -> dict[str, int]:
    """Partition -> version if the lake and PostgreSQL agree, `NOT_SERVED` if they differ."""
    return {
        key: in_lake.get(key, 0) if in_lake.get(key, 0) == in_postgres.get(key, 0) else NOT_SERVED
        for key in in_lake.keys() | in_postgres.keys()
    }
