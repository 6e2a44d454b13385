"""Facts in a table's own log: a number under a name, as a transaction id of Delta. They are moved and restored with the table.

A stream's batches are such facts too: the writer's id is the name, the number of its last batch is the number.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake

from shop_streams.lake import reader
from shop_streams.lake.write import COMMIT_ONLY, repeat_commit

CLOSED = 2**62  # higher than the number of any batch


def recall(uri: str, name: str) -> int | None:
    """The number that the table at `uri` has under this name; None if it has none, or if there is no table."""
    table = reader.open_table(uri)
    found = None if table is None else table.transaction_version(name)
    return None if found is None else int(found)


@repeat_commit
def remember(uri: str, numbers: Mapping[str, int]) -> None:
    """Write each number under its name, in one commit without rows. Without a table, or if they are there, do nothing."""
    table = reader.open_table(uri)
    if table is None or all(table.transaction_version(name) == number for name, number in numbers.items()):
        return
    write_deltalake(
        table,
        pa.schema(table.schema()).empty_table(),  # a dataset of the table would open each file's statistics
        mode="append",
        commit_properties=CommitProperties(app_transactions=[Transaction(*fact) for fact in numbers.items()]),
        post_commithook_properties=COMMIT_ONLY,
    )


def close_writer(uri: str, writer_id: str) -> None:
    """Make Delta skip every later batch of this writer, also of a query that still runs somewhere."""
    remember(uri, {writer_id: CLOSED})
