"""Questions about more rows than fit into memory: DuckDB with limited memory, which reads a table batch by batch.

DuckDB reads Parquet files in a third of the time of Arrow's reader. But it does not know the Delta log: a table's columns and
partitions, or which files have a column. So whole files give one column of text to it, and Arrow reads all other parts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow.dataset import FileSystemDataset

from shop_streams.lake import reader

MEMORY = "300MB"  # what needs more is written to a temporary folder
FILES_AT_ONCE = 500  # DuckDB keeps 50 kB of each file of a view, which do not count as its memory
BATCHES_AHEAD = 2  # Arrow reads 16 batches of 4 files ahead by default: 1 GB of ids


@contextmanager
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database of its own. A join's hash table has the rows of its right side, as the query says it."""
    with tempfile.TemporaryDirectory(prefix="shop-streams-duckdb-") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "threads": 1,  # streams need the cores
            "temp_directory": folder,
            "preserve_insertion_order": False,
        }
        with duckdb.connect(config=config) as connection:
            # DuckDB does not know how many rows a reader gives, and would put a week of them into the hash table.
            connection.execute("set disabled_optimizers = 'join_order,build_side_probe_side'")
            yield connection


def rows(
    table: DeltaTable,
    columns: list[str] | dict[str, Any],
    where: Any = None,
    prune: reader.Prune | None = None,
    paths: Collection[str] | None = None,
) -> pa.RecordBatchReader:
    """Columns of the table, filtered by a pyarrow expression, to be read once. `columns` may be name -> pyarrow expression.

    With `paths`, only of these files of the log.
    """
    dataset = table.to_pyarrow_dataset(file_pruning_predicate=prune)
    if paths is not None:
        names = {*paths, *map(unquote, paths)}  # the log encodes a partition's value
        chosen = [file for file in dataset.get_fragments() if file.path in names]
        dataset = FileSystemDataset(chosen, dataset.schema, dataset.format, dataset.filesystem)
    return dataset.scanner(columns, where, batch_readahead=BATCHES_AHEAD, fragment_readahead=1).to_reader()


def files_before(table: DeltaTable, column: str, value: Any) -> tuple[pa.Table, pa.Table]:
    """The files of which the log knows that each value of `column` is less than `value`; and all others. Their actions."""
    actions, largest = reader.file_actions(table), f"max.{column}"
    if largest not in actions.column_names:
        return actions.slice(0, 0), actions
    is_before = pc.fill_null(pc.less(actions[largest], value), False)
    return actions.filter(is_before), actions.filter(pc.invert(is_before))


def create_earlier(
    database: duckdb.DuckDBPyConnection,
    known: DeltaTable,
    uri: str,
    column: str,
    days: reader.Prune,
    files: tuple[pa.Table, pa.Table],
    where: Any,
) -> None:
    """A view `earlier` with the column `id`: the texts in `column` of earlier rows in the partitions `days`.

    `files`: as `files_before` gives them, all rows of the first ones are earlier. Of the others, those that meet `where`. DuckDB
    reads the largest of the first ones.
    """
    ((day, _, keys),) = days
    before, others = (one.filter(pc.is_in(one[f"partition.{day}"].cast("string"), pa.array(keys))) for one in files)
    before = before.sort_by([("size_bytes", "descending")])
    _create_ids(database, "all_of", uri, column, before["path"].slice(0, FILES_AT_ONCE).to_pylist())
    rest = before["path"].slice(FILES_AT_ONCE).to_pylist() + others["path"].to_pylist()
    database.register("some_of", rows(known, [column], where, days, rest))
    database.execute(f'create view earlier as select id from all_of union all select "{column}" from some_of')


def _create_ids(database: duckdb.DuckDBPyConnection, view: str, uri: str, column: str, paths: Collection[str]) -> None:
    """A view with the column `id`: the text in `column` of whole files. Files that are older than the column have nulls."""
    [(folder,)] = database.execute("select current_setting('temp_directory')").fetchall()
    # Without a file that has the column, DuckDB would not know it.
    empty = Path(folder) / f"{view}.parquet"
    pq.write_table(pa.table({column: pa.array([], pa.string())}), empty)
    files = [str(empty), *(f"{uri}/{path}" for path in sorted(paths))]
    database.read_parquet(files, union_by_name=True, hive_partitioning=False).project(f'"{column}" as id').create_view(
        view
    )
