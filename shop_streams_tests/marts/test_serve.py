"""A mart's copy in PostgreSQL: a partition and its version at once in all tables, or nothing of them."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from shop_streams.lake.table import Column
from shop_streams.marts.serve import PAGE_ROWS, PostgresCopy, PostgresTable, TableDiffers
from shop_streams.postgres import transaction
from shop_streams_tests.harness import Stack


@pytest.fixture
def copy(stack: Stack) -> Iterator[PostgresCopy]:
    """Two tables: every row, and those with more than 5 under another name for the day, with a primary key."""
    name = f"served_{uuid4().hex}"
    every = PostgresTable(
        f"{name}_a", (Column("day", "date"), Column("n", "int8 not null"), Column("word", "text")), "day"
    )
    large = PostgresTable(
        f"{name}_b",
        (Column("dd", "int", 'day of the month; it\'s "2" here'), Column("n", "int")),
        "dd",
        ("dd", "n"),
        lambda key: int(key[-2:]),
        lambda key, row: {"dd": int(key[-2:]), "n": row["n"]} if (row["n"] or 0) > 5 else None,
    )
    copy = PostgresCopy(name, (every, large))
    yield copy
    with transaction(stack.settings.postgres) as cursor:
        for table in copy.tables:
            cursor.execute(f"drop table if exists {table.name}")
        cursor.execute("delete from served_versions where name = %s", (name,))


def rows(day: int, *numbers: int | None) -> list[dict[str, Any]]:
    return [{"day": f"2026-01-{day:02d}", "n": number, "word": "w", "source_rows": 7} for number in numbers]


def found(stack: Stack, copy: PostgresCopy) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(f"select extract(day from day)::int, n from {copy.tables[0].name} order by 1, 2")
        every = cursor.fetchall()
        cursor.execute(f"select dd, n from {copy.tables[1].name} order by 1, 2")
        return every, cursor.fetchall()


def test_a_partition_is_replaced_with_its_version_and_again_changes_nothing(stack: Stack, copy: PostgresCopy) -> None:
    dsn = stack.settings.postgres
    assert copy.versions(dsn) == {}
    copy.replace(dsn, "2026-01-02", 1, rows(2, 9))
    for _ in range(2):
        copy.replace(dsn, "2026-01-01", 2**62, rows(1, 2, 6))
        assert found(stack, copy) == ([(1, 2), (1, 6), (2, 9)], [(1, 6), (2, 9)])
        assert copy.versions(dsn) == {"2026-01-01": 2**62, "2026-01-02": 1}
    copy.replace(dsn, "2026-01-01", 0, [])
    assert found(stack, copy) == ([(2, 9)], [(2, 9)])
    assert copy.versions(dsn) == {"2026-01-01": 0, "2026-01-02": 1}


def test_a_partition_that_fails_leaves_all_tables_and_the_version_as_they_were(
    stack: Stack, copy: PostgresCopy
) -> None:
    dsn = stack.settings.postgres
    copy.replace(dsn, "2026-01-01", 2, rows(1, 1, 7))
    for wrong in ((8, None), (8, 8)):  # null in the first table; twice the same key in the second
        with pytest.raises(psycopg2.IntegrityError):
            copy.replace(dsn, "2026-01-01", 3, rows(1, *wrong))
        assert found(stack, copy) == ([(1, 1), (1, 7)], [(1, 7)])
        assert copy.versions(dsn) == {"2026-01-01": 2}


def test_a_lost_table_is_served_again(stack: Stack, copy: PostgresCopy) -> None:
    dsn = stack.settings.postgres
    for day in (1, 2):
        copy.replace(dsn, f"2026-01-0{day}", day, rows(day, 7))
    with transaction(dsn) as cursor:
        cursor.execute(f"drop table {copy.tables[1].name}")
    assert copy.versions(dsn) == {}, "so all partitions are due"
    copy.replace(dsn, "2026-01-02", 2, rows(2, 7))
    assert copy.versions(dsn) == {"2026-01-02": 2}, "the other one is still due"


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ("dd bigint, n int, note text, primary key (dd, n)", None),
        ("dd int, n int, note text not null default '', primary key (n, dd)", None),
        ("dd int primary key", r"it has no column n \(int\); its primary key .*"),
        ("dd int, n text, primary key (dd, n)", "its column n is text, not int"),
        ("dd int, n numeric(1), primary key (dd, n)", r"its column n is numeric\(1,0\), not int"),
        ("dd int, n int, note text not null, primary key (dd, n)", "its column note needs a value"),
        ("dd int, n int", r"its primary key is not \(dd, n\): ALTER TABLE can set it"),
        ("dd int primary key, n int unique", r"its primary key is not \(dd, n\): ALTER TABLE can set it"),
    ],
)
def test_a_table_that_the_user_has_already(stack: Stack, copy: PostgresCopy, columns: str, problem: str | None) -> None:
    dsn = stack.settings.postgres
    with transaction(dsn) as cursor:
        cursor.execute(f"create table {copy.tables[1].name} ({columns})")
    if problem is None:
        copy.replace(dsn, "2026-01-01", 1, rows(1, 7))
        assert found(stack, copy)[1] == [(1, 7)]
        return
    with pytest.raises(TableDiffers, match=rf"{copy.tables[1].name} that this version can't fill: {problem}\. Rename"):
        copy.replace(dsn, "2026-01-01", 1, rows(1, 7))
    assert copy.versions(dsn) == {}


def test_a_nul_and_a_comment_with_quotes_are_stored(stack: Stack, copy: PostgresCopy) -> None:
    dsn = stack.settings.postgres
    copy.replace(dsn, "2026-01-01", 1, [{"day": "2026-01-01", "n": 1, "word": "a\x00'%s"}])
    with transaction(dsn) as cursor:
        cursor.execute(f"select word from {copy.tables[0].name}")
        assert cursor.fetchone() == ("a\ufffd'%s",)
        cursor.execute("select col_description(%s::regclass, 1)", (copy.tables[1].name,))
        assert cursor.fetchone() == (copy.tables[1].columns[0].comment,)


def test_more_rows_than_one_statement_takes(stack: Stack, copy: PostgresCopy) -> None:
    for _ in range(2):
        copy.replace(stack.settings.postgres, "2026-01-01", 1, rows(1, *range(2 * PAGE_ROWS + 1)))
    assert [len(table) for table in found(stack, copy)] == [2 * PAGE_ROWS + 1, 2 * PAGE_ROWS - 5]
