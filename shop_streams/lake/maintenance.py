"""Maintenance of tables, without a JVM: fewer and larger files, no files that nobody can read any more.

Streams only append, so nothing here is in their way: a compaction that meets an append wins or loses by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from deltalake import DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError

from shop_streams.lake import reader

# Spark writes the checkpoints of these logs, with all that its streams keep in them.
_COMMIT_ONLY = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


@dataclass(frozen=True)
class Maintained:
    """A table's files before and after, and how many files without a reader were deleted."""

    files_before: int = 0
    files_after: int = 0
    files_deleted: int = 0


def compact(table: DeltaTable, partition_column: str, partitions: Sequence[str]) -> None:
    """Merge the files of each partition; another writer's commit in the way leaves it for the next time."""
    for partition in partitions:
        try:
            table.optimize.compact([(partition_column, "=", partition)], post_commithook_properties=_COMMIT_ONLY)
        except CommitFailedError:
            table.update_incremental()


def maintain(uri: str, partition_column: str, closed: Sequence[str], readers_hours: int) -> Maintained:
    """Compact the `closed` partitions that have more than one file, and delete files that nobody needs.

    `readers_hours` is how long a reader may stay on an old version of the table, and a writer may take for a commit. Files
    that the log does not name are deleted too once they are older: those of writes that were killed, and those whose
    removal a checkpoint has dropped from the log (Spark's do so after a week).
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
        post_commithook_properties=_COMMIT_ONLY,
    )
    after = reader.file_counts(uri, partition_column)
    return Maintained(sum(files.values()), sum(after.values()), len(deleted))


def expire(uri: str, time_column: str, days: int, condition: str) -> int:
    """Delete rows older than `days` for which `condition` (SQL) holds, and return how many there were.

    Their files go with a later `maintain`.
    """
    table = reader.open_table(uri)
    if table is None:
        return 0
    oldest = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    moment = f"arrow_cast('{oldest}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    done = table.delete(f"{time_column} < {moment} and {condition}", post_commithook_properties=_COMMIT_ONLY)
    return int(done["num_deleted_rows"] or 0)
