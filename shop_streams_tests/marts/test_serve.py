"""A mart's copy in PostgreSQL: a partition and its version at once, or nothing of them."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from shop_streams.lake.table import Column
from shop_streams.marts.serve import PostgresTable
from shop_streams.postgres import transaction
from shop_streams_tests.harness import Stack


@pytest.fixture
def table(stack: Stack) -> Iterator[PostgresTable]:
    table = PostgresTable(f"served_{uuid4().hex}", (Column("day", "date"), Column("n", "int8 not null")), "day")
    yield table
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(f"drop table if exists {table.name}")
        cursor.execute("delete from served_versions where name = %s", (table.name,))


def rows(*numbers: int | None) -> list[dict[str, Any]]:
    return [{"day": "2026-01-01", "n": number, "source_rows": 7} for number in numbers]


def found(stack: Stack, table: PostgresTable) -> list[tuple[str, int]]:
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(f"select day::text, n from {table.name} order by 1, 2")
        return [tuple(row) for row in cursor.fetchall()]


def test_a_partition_is_replaced_with_its_version_and_again_changes_nothing(stack: Stack, table: PostgresTable) -> None:
    dsn = stack.settings.postgres
    assert table.versions(dsn) == {}
    table.replace(dsn, "2026-01-02", 1, [{"day": "2026-01-02", "n": 9}])
    for _ in range(2):
        table.replace(dsn, "2026-01-01", 2**62, rows(1, 2))
        assert found(stack, table) == [("2026-01-01", 1), ("2026-01-01", 2), ("2026-01-02", 9)]
        assert table.versions(dsn) == {"2026-01-01": 2**62, "2026-01-02": 1}
    table.replace(dsn, "2026-01-01", 0, [])
    assert found(stack, table) == [("2026-01-02", 9)]
    assert table.versions(dsn) == {"2026-01-01": 0, "2026-01-02": 1}


def test_a_partition_that_fails_leaves_rows_and_version_as_they_were(stack: Stack, table: PostgresTable) -> None:
    dsn = stack.settings.postgres
    table.replace(dsn, "2026-01-01", 2, rows(1, 2))
    with pytest.raises(psycopg2.IntegrityError):
        table.replace(dsn, "2026-01-01", 3, rows(4, None))
    assert found(stack, table) == [("2026-01-01", 1), ("2026-01-01", 2)]
    assert table.versions(dsn) == {"2026-01-01": 2}
