"""Maintenance of Delta tables, without a JVM: compaction, vacuum, and deletion of expired rows.

Streams only append, and appends do not conflict with a compaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from shop_streams.lake import reader
from shop_streams.lake.write import COMMIT_ONLY


@dataclass(frozen=True)
class Maintained:
    """The number of files in the table before and after, and of the unneeded files that were deleted."""

    files_before: int = 0
    files_after: int = 0
    files_deleted: int = 0


def compact(table: DeltaTable, partition_column: str, partitions: Sequence[str]) -> None:
    """Merge the files of each partition. After a conflict with another commit, the partition waits for the next maintenance."""
    for partition in partitions:
        try:
            table.optimize.compact([(partition_column, "=", partition)], post_commithook_properties=COMMIT_ONLY)
        except CommitFailedError:
            table.update_incremental()


def maintain(uri: str, partition_column: str, closed: Sequence[str], readers_hours: int) -> Maintained:
    """Compact the `closed` partitions that have more than one file, and delete files that the table no longer needs.

    `readers_hours`: a reader may use an old version of the table for so long, and a commit may take so long. Older files
    that the log does not name are deleted too: files of killed writes, and files whose removal is no longer in the log
    (Spark's checkpoints drop it after a week).
    """
    table = reader.open_table(uri)
    if table is None:
        return Maintained()
    files = reader.file_counts(uri, partition_column)
    compact(table, partition_column, [key for key in closed if files.get(key, 0) > 1])
    deleted = table.vacuum(
        readers_hours,
        dry_run=False,
        enforce_retention_duration=False,
        full=True,
        post_commithook_properties=COMMIT_ONLY,
    )
    after = reader.file_counts(uri, partition_column)
    return Maintained(sum(files.values()), sum(after.values()), len(deleted))


def expire(uri: str, time_column: str, days: int, condition: str) -> int:
    """Delete rows older than `days` for which `condition` (SQL) holds; return their number. `maintain` removes the files."""
    table = reader.open_table(uri)
    if table is None:
        return 0
    oldest = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    moment = f"arrow_cast('{oldest}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    done = table.delete(f"{time_column} < {moment} and {condition}", post_commithook_properties=COMMIT_ONLY)
    return int(done["num_deleted_rows"] or 0)
