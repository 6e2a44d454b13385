"""Which ids of a few rows earlier rows have, among more ids than fit into memory.

DuckDB reads a column of whole Parquet files in a third of the time of Arrow's reader, and looks up a hash of 8 bytes in an eighth
of the time of an id of 36. It does not know the Delta log, so Arrow reads the files of which only some rows are earlier. Files of
a version without the hash give their ids; so do all files, if one of the few rows has no hash.

Two ids with the same hash count as one. Among 700,000 random ids and a week of 120 million, that is one case in 200,000; a sender
who chooses ids can make more. So what must be exact asks again with `null_hash`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from shop_streams.lake import bounded, reader
from shop_streams.lake.table import hash_name

FILES_AT_ONCE = 500  # of each of the two views: DuckDB keeps 50 kB of a file, which do not count as its memory

# DuckDB can write the hash tables of `distinct` and of a join to disk, but not those of `count(distinct …)`.
NEW = """
select (select count(*) from (select distinct id from inside)) - (select count(*) from (
    select id from inside semi join (select distinct hash from earlier_hashes semi join inside using (hash)) using (hash)
    union
    select id from earlier_ids semi join inside using (id)
))
"""


@dataclass(frozen=True)
class Files:
    """A table's files, as the log's actions. All rows of `before` are earlier; of the `others`, those that meet a condition."""

    before: pa.Table
    others: pa.Table

    def where(self, chosen: Any) -> Files:
        """The files for which `chosen(actions)` is true."""
        return Files(self.before.filter(chosen(self.before)), self.others.filter(chosen(self.others)))


def files_before(table: DeltaTable, column: str, value: Any) -> Files:
    """In `before` are the files of which the log knows that each value of `column` is less than `value`."""
    actions, largest = reader.file_actions(table), f"max.{column}"
    if largest not in actions.column_names:
        return Files(actions.slice(0, 0), actions)
    is_before = pc.fill_null(pc.less(actions[largest], value), False)
    return Files(actions.filter(is_before), actions.filter(pc.invert(is_before)))


def id_and_hash(table: DeltaTable, identity: str, null_hash: bool = False) -> dict[str, Any]:
    """The columns `id` and `hash` of the table `inside`. The hash is null where the table has none, or with `null_hash`."""
    name = hash_name(identity)
    has_hash = name in dict(reader.schema(table)) and not null_hash
    return {
        "id": pc.field(identity),
        "hash": pc.field(name) if has_hash else pc.scalar(pa.scalar(None, pa.int64())),
    }


def count_new(
    database: duckdb.DuckDBPyConnection,
    table: DeltaTable,
    uri: str,
    identity: str,
    days: reader.Prune,
    files: Files,
    where: Any,
) -> int:
    """The number of the distinct ids in `inside` that no earlier row has. `inside` is a table of `database`: id, hash.

    Earlier are the rows of the partitions `days` in `files.before`, and those in `files.others` that meet `where`.
    """
    ((day, _, keys),) = days
    files = files.where(lambda actions: pc.is_in(actions[f"partition.{day}"].cast("string"), pa.array(keys)))
    row = database.execute("select count(*) from inside where hash is null").fetchone()
    by_hash = row == (0,)

    def is_hashed(actions: pa.Table) -> Any:
        nulls = f"null_count.{hash_name(identity)}"
        known = by_hash and nulls in actions.column_names
        return (
            pc.fill_null(pc.equal(actions[nulls], 0), False)
            if known
            else pa.array([False] * actions.num_rows, pa.bool_())
        )

    for view, column, as_, kind, chosen in (
        ("earlier_hashes", hash_name(identity), "hash", pa.int64(), files.where(is_hashed)),
        ("earlier_ids", identity, "id", pa.string(), files.where(lambda actions: pc.invert(is_hashed(actions)))),
    ):
        largest = chosen.before.sort_by([("size_bytes", "descending")])["path"]
        _create_view(database, f"{view}_whole", uri, column, kind, largest.slice(0, FILES_AT_ONCE).to_pylist())
        rest = largest.slice(FILES_AT_ONCE).to_pylist() + chosen.others["path"].to_pylist()
        parts = bounded.rows(table, [column], where, days, rest) if rest else pa.table({column: pa.array([], kind)})
        database.register(f"{view}_parts", parts)
        database.execute(
            f'create view {view} as select "{column}" as {as_} from {view}_whole union all select "{column}" from {view}_parts'
        )
    found = database.execute(NEW).fetchone()
    assert found is not None
    return int(found[0])


def _create_view(
    database: duckdb.DuckDBPyConnection, view: str, uri: str, column: str, kind: Any, paths: Collection[str]
) -> None:
    """A view of one column of whole files. Files that are older than the column have nulls."""
    [(folder,)] = database.execute("select current_setting('temp_directory')").fetchall()
    # Without a file that has the column, DuckDB would not know it.
    empty = Path(folder) / f"{view}.parquet"
    pq.write_table(pa.table({column: pa.array([], kind)}), empty)
    files = [str(empty), *(f"{uri}/{path}" for path in sorted(paths))]
    database.read_parquet(files, union_by_name=True, hive_partitioning=False).project(f'"{column}"').create_view(view)
