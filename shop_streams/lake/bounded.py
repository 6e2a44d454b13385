"""Questions about more rows than fit into memory: DuckDB with limited memory, which reads a table batch by batch.

Arrow reads through the table's log, which knows columns, partitions and files. DuckDB itself can read whole files only
(earlier_ids.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from pyarrow.dataset import FileSystemDataset

from shop_streams.lake import reader

MEMORY = "300MB"  # what needs more is written to a temporary folder
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
