"""Deletion of one person's rows from Delta tables, without a JVM, while streams append."""

from __future__ import annotations

import functools
import operator
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from shop_streams.errors import ShopStreamsError
from shop_streams.lake import reader
from shop_streams.lake.write import COMMIT_ONLY

_BITS = {"byte": 7, "short": 15, "integer": 31, "long": 63}
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
ATTEMPTS = 30  # of one partition; a stream commits at most once in its interval, and a deletion takes a second
GROUP_ROWS = 2_000_000  # of partitions that are written together: a commit holds their files in memory
PAUSE_SECONDS = 0.2  # between two attempts
_KEEPING = {"OPTIMIZE", "STREAMING UPDATE", "VACUUM START", "VACUUM END"}  # operations that remove no rows
STALE = -2  # stands for the source version of a partition that must be computed again


class StillWritten(ShopStreamsError):
    """Other commits to the same partition always came first."""


def value_for(kind: str, person: str) -> int | str | None:
    """The person's id as a value of a column of this Delta type; None if such a column can't hold it.

    `007` is a text, not the number 7.
    """
    if kind == "string":
        return person
    if kind not in _BITS or not _WHOLE_NUMBER.fullmatch(person):
        return None
    number = int(person)
    return number if -(2 ** _BITS[kind]) <= number < 2 ** _BITS[kind] else None


def rows_of_person(table: DeltaTable, columns: Sequence[str], person: str) -> pc.Expression | None:
    """The rows in which one of the columns has the id; None if no column of the table can hold it."""
    kinds = dict(reader.schema(table))
    values = {name: value_for(kinds[name], person) for name in columns if name in kinds}
    parts = [pc.field(name) == value for name, value in values.items() if value is not None]
    return functools.reduce(operator.or_, parts) if parts else None


def literal(value: int | str) -> str:
    """The value as an SQL literal."""
    return str(value) if isinstance(value, int) else "'{}'".format(value.replace("'", "''"))


@dataclass(frozen=True)
class Rows:
    """Rows that were found or deleted: partition -> their number. `before`: the table's version in which they were found first."""

    partitions: Mapping[str, int] = field(default_factory=dict)
    before: int | None = None

    @property
    def count(self) -> int:
        """The number of rows in all partitions."""
        return sum(self.partitions.values())


def find(uri: str, partition_column: str, columns: Sequence[str], person: str) -> Rows:
    """Count the person's rows in the table at `uri`."""
    table = reader.open_table(uri)
    mine = rows_of_person(table, columns, person) if table is not None else None
    if table is None or mine is None:
        return Rows()
    dataset = table.to_pyarrow_dataset()
    found = Counter[str]()
    for batch in dataset.to_batches(columns=[partition_column], filter=mine):
        found.update(batch.column(partition_column).cast(pa.string()).to_pylist())
    return Rows(dict(sorted(found.items())), table.version())


def remove(
    uri: str,
    partition_column: str,
    columns: Sequence[str],
    person: str,
    read: Sequence[str] = (),
    record: Callable[[pa.Table], None] = lambda _rows: None,
) -> Rows:
    """Delete the person's rows; return what was deleted.

    `record` gets the columns `read` of the rows before they are deleted, and of no other row: if a row arrives in between,
    the deletion is refused, and both are done again. So an interrupted removal has recorded all that it has deleted.

    Raises:
        StillWritten: a partition had a new commit at each attempt.
    """
    found = find(uri, partition_column, columns, person)
    deleted = Counter[str]()
    waiting = groups(found.partitions, reader.row_counts(uri, partition_column))
    failures = Counter[str]()
    while waiting:
        keys = waiting.pop()
        try:
            deleted.update(_remove_from(uri, partition_column, keys, columns, person, read, record))
        except CommitFailedError as error:
            if len(keys) > 1:  # most partitions are closed: the live one must not delay them
                waiting += [keys[: len(keys) // 2], keys[len(keys) // 2 :]]
                continue
            failures[keys[0]] += 1
            if failures[keys[0]] >= ATTEMPTS:
                raise StillWritten(
                    f"The partition {keys[0]} of {uri} was written to during each of {ATTEMPTS} attempts to delete rows. Run the "
                    "command again."
                ) from error
            time.sleep(PAUSE_SECONDS)
            waiting.append(keys)
    return Rows(dict(sorted(deleted.items())), found.before)


def groups(keys: Iterable[str], rows: Mapping[str, int]) -> list[list[str]]:
    """The partitions in groups of at most `GROUP_ROWS` rows; a larger partition is alone. `rows`: partition -> its rows."""
    found: list[list[str]] = []
    total = 0
    for key in sorted(keys):
        total += rows.get(key, 0)
        if not found or total > GROUP_ROWS:
            found.append([])
            total = rows.get(key, 0)
        found[-1].append(key)
    return found


def _remove_from(
    uri: str,
    partition_column: str,
    keys: Sequence[str],
    columns: Sequence[str],
    person: str,
    read: Sequence[str],
    record: Callable[[pa.Table], None],
) -> Counter[str]:
    table = reader.open_table(uri)
    mine = rows_of_person(table, columns, person) if table is not None else None
    if table is None or mine is None:
        return Counter()
    there = [name for name in dict.fromkeys([partition_column, *read]) if name in dict(reader.schema(table))]
    dataset = table.to_pyarrow_dataset(file_pruning_predicate=[(partition_column, "in", list(keys))])
    rows = dataset.to_table(columns=there, filter=mine)
    if not rows.num_rows:
        return Counter()
    record(rows)
    # The partitions are replaced, because Delta's log would keep the condition of a DELETE, and with it the id. `table` is
    # the version that was read: this commit fails if a newer one has added rows to these partitions.
    write_deltalake(
        table,
        dataset.scanner(filter=~pc.coalesce(mine, False)).to_reader(),
        mode="overwrite",
        predicate=in_partitions(partition_column, keys),
        post_commithook_properties=COMMIT_ONLY,
    )
    return Counter(rows[partition_column].cast(pa.string()).to_pylist())


def delete_where(uri: str, sql: str) -> int:
    """Delete the rows for which `sql` holds; return their number. The table's log keeps `sql`: it must name no person.

    Raises:
        StillWritten: the table was written to at each attempt.
    """
    deleted = _commit(uri, "", lambda table: table.delete(sql, post_commithook_properties=COMMIT_ONLY))
    return int(deleted.get("num_deleted_rows") or 0)


def _commit(uri: str, to: str, change: Callable[[DeltaTable], dict[str, Any]]) -> dict[str, Any]:
    """Change the table, again if it was written to meanwhile; what `change` returns, {} if there is no table. `to`: why, in words."""
    for _ in range(ATTEMPTS):
        table = reader.open_table(uri)
        try:
            return {} if table is None else change(table)
        except CommitFailedError:
            time.sleep(PAUSE_SECONDS)
    raise StillWritten(f"{uri} was written to during each of {ATTEMPTS} attempts{to}. Run the command again.")


def in_partitions(column: str, keys: Collection[str]) -> str:
    """SQL condition for the rows of these partitions."""
    return f"{column} in ({', '.join(literal(key) for key in sorted(keys))})"


def mark_stale(uri: str, partition_column: str, keys: Collection[str]) -> None:
    """Set the source version of these partitions of a mart to `STALE`, so that the repair sensor computes them again.

    The version of a streamed partition is a number of rows. If as many rows arrive as were deleted, it does not change.

    Raises:
        StillWritten: the mart was written to at each attempt.
    """
    if keys:
        mine, stale = in_partitions(partition_column, keys), {"source_rows": str(STALE)}
        _commit(
            uri,
            " to mark partitions",
            lambda table: table.update(updates=stale, predicate=mine, post_commithook_properties=COMMIT_ONLY),
        )


def shrinking(uri: str, before: int, now: int) -> list[tuple[int, int]] | None:
    """The commits after version `before` up to `now` that may have removed rows, as spans (version before, version after).

    Commits in a row are one span. None if the log of some of them is gone.
    """
    by_version = {one["version"]: one for one in DeltaTable(uri, version=now).history(now - before)}
    if any(number not in by_version for number in range(before + 1, now + 1)):
        return None
    spans: list[tuple[int, int]] = []
    for number in range(before + 1, now + 1):
        one = by_version[number]
        if one["operation"] in _KEEPING or one.get("operationParameters", {}).get("mode") == "Append":
            continue
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number - 1, number))
    return spans


def distinct(uri: str, column: str, columns: Sequence[str], person: str) -> Iterator[str]:
    """The values of `column` in the person's rows, ascending."""
    table = reader.open_table(uri)
    mine = rows_of_person(table, columns, person) if table is not None else None
    if table is None or mine is None:
        return
    found: set[str] = set()
    for batch in table.to_pyarrow_dataset().to_batches(columns=[column], filter=mine):
        found.update(pc.unique(batch.column(column)).to_pylist())
    yield from sorted(found - {None})
