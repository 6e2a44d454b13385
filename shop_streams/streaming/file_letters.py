"""Dead letters of delivered files: those of a folder are replaced as a whole when the folder is loaded again.

So the table has what is wrong now. There is nothing to replay: a person mends the row in its file, and the file is loaded
again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import or_

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from shop_streams.lake import reader
from shop_streams.lake.write import COMMIT_ONLY, repeat_commit
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS, HEADERS


def replace_letters(settings: Settings, domain: str, folders: Sequence[str], letters: pa.Table) -> None:
    """Replace the letters of the files below `folders` in one commit; a repeated call changes nothing.

    Args:
        folders: names without quotes, such as `date=2026-01-31`.
        letters: columns `file` (it begins with one of the folders and a slash), `line`, `raw`, `reason`.
    """
    if not folders:
        return
    file = pc.field("file")
    below = reduce(or_, [(file >= f"{folder}/") & (file < _end(folder)) for folder in folders])
    uri = DEAD_LETTERS.uri(settings)
    of_domain = [("domain", "in", [domain])]
    if letters.num_rows == 0 and reader.scan(uri, ["file"], below, prune=of_domain).num_rows == 0:
        return
    where = " or ".join(f"(file >= '{folder}/' and file < '{_end(folder)}')" for folder in folders)
    _replace(uri, f"domain = '{domain}' and ({where})", _rows(letters, domain))


def _end(folder: str) -> str:
    """The first text behind those that begin with the folder and a slash; the log's statistics answer such comparisons."""
    return f"{folder}{chr(ord('/') + 1)}"


@repeat_commit
def remove_rows(settings: Settings, domain: str, rows: Collection[tuple[str, int | None]]) -> int:
    """Delete the letters of these rows, (file, line), and return their number.

    The domain's partition is replaced, because Delta's log would keep the condition of a DELETE, and with it names of files.
    """
    table = reader.open_table(DEAD_LETTERS.uri(settings))
    if table is None or not rows or "file" not in dict(reader.schema(table)):
        return 0
    gone, deleted = set(rows), 0
    scanner = table.to_pyarrow_dataset(file_pruning_predicate=[("domain", "in", [domain])]).scanner(
        filter=pc.field("domain") == domain
    )

    def others() -> Iterator[pa.RecordBatch]:
        nonlocal deleted
        for batch in scanner.to_batches():
            places = zip(batch["file"].to_pylist(), batch["line"].to_pylist(), strict=True)
            kept = batch.filter(pa.array([place not in gone for place in places], pa.bool_()))
            deleted += batch.num_rows - kept.num_rows
            yield kept

    content = pa.RecordBatchReader.from_batches(scanner.projected_schema, others())
    where = f"domain = '{domain}'"
    # `table` is the version that was read: the commit fails if a newer one has added letters of the domain.
    write_deltalake(table, content, mode="overwrite", predicate=where, post_commithook_properties=COMMIT_ONLY)
    return deleted


@repeat_commit
def _replace(uri: str, where: str, rows: pa.Table) -> None:
    write_deltalake(DeltaTable(uri), rows, mode="overwrite", predicate=where, post_commithook_properties=COMMIT_ONLY)


def _rows(letters: pa.Table, domain: str) -> pa.Table:
    count = letters.num_rows
    columns = {
        "domain": pa.array([domain] * count, pa.string()),
        "topic": pa.nulls(count, pa.string()),
        "kafka_partition": pa.nulls(count, pa.int32()),
        "kafka_offset": pa.nulls(count, pa.int64()),
        "raw": letters["raw"].cast(pa.binary()),
        "reason": letters["reason"].cast(pa.string()),
        "at": pa.array([datetime.now(UTC)] * count, pa.timestamp("us", "UTC")),
        "key": pa.nulls(count, pa.binary()),
        "headers": pa.nulls(count, HEADERS),
        "file": letters["file"].cast(pa.string()),
        "line": letters["line"].cast(pa.int64()),
    }
    return pa.table({column.name: columns[column.name] for column in DEAD_LETTERS.columns})
