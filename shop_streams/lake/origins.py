"""How far a streamed table reaches in its topic, from the statistics of its log."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.lake import reader

WIDEST = 1000  # partitions of one file: more of them are not looked at one by one
MOST = 2**31
PARTITION, OFFSET = "kafka_partition", "kafka_offset"
NAMES = (f"min.{PARTITION}", f"max.{PARTITION}", f"max.{OFFSET}")


def ends(uri: str, first: int = 0, end: int = MOST) -> dict[int, int]:
    """Partition -> first offset after the table's last one; {} without a table or rows. Of the partitions [first, end).

    Only the files that mix partitions are opened, and of them only those that may have a later offset than all other files.
    """
    files = _statistics(uri)
    partition, offset = pc.field(PARTITION), pc.field(OFFSET)
    asked = (partition >= first) & (partition < end)
    if files is None:
        return _read(uri, asked)
    there = [one for one in files if one[0] is None or one[1] is None or (one[1] >= first and one[0] < end)]
    found, open_files = from_statistics(there)
    found = {number: reached for number, reached in found.items() if first <= number < end}
    if not open_files:
        return found
    later = [(partition == number) & (offset >= reached) for number, reached in found.items()]
    unknown = ~partition.isin(list(found)) if found else pc.scalar(True)
    return found | _read(uri, asked & functools.reduce(operator.or_, later, unknown))


def highest_partition(uri: str) -> int:
    """The highest partition of the table's rows; 0 without rows."""
    files = _statistics(uri)
    if files is None or any(highest is None for _, highest, _ in files):
        return max(_read(uri, None), default=0)
    return max((highest for _, highest, _ in files if highest is not None), default=0)


def _statistics(uri: str) -> list[tuple[int | None, int | None, int | None]] | None:
    """(lowest partition, highest partition, highest offset) of each file of the table; None if the log has no statistics."""
    table = reader.open_table(uri)
    actions = pa.table(table.get_add_actions(flatten=True)) if table is not None else pa.table({})
    if table is None or not actions.num_rows or OFFSET not in dict(reader.schema(table)):
        return []
    if any(name not in actions.column_names for name in NAMES):
        return None
    return [(row[NAMES[0]], row[NAMES[1]], row[NAMES[2]]) for row in actions.select(NAMES).to_pylist()]


def from_statistics(
    files: Sequence[tuple[int | None, int | None, int | None]],
) -> tuple[dict[int, int], bool]:
    """What (lowest partition, highest partition, highest offset) of each file tell: partition -> end, and whether files must be
    opened because one that mixes partitions, or that has no statistics, may reach further.
    """
    found: dict[int, int] = {}
    for lowest, highest, offset in files:
        if lowest is not None and lowest == highest and offset is not None:
            found[lowest] = max(found.get(lowest, 0), offset + 1)
    for lowest, highest, offset in files:
        if lowest is None or highest is None or offset is None or highest - lowest > WIDEST:
            return found, True
        if any(found.get(number, 0) <= offset for number in range(lowest, highest + 1)):
            return found, True
    return found, False


def _read(uri: str, where: Any) -> dict[int, int]:
    found: dict[int, int] = {}
    for batch in reader.batches(uri, [PARTITION, OFFSET], where):
        grouped = pa.table(batch).group_by(PARTITION).aggregate([(OFFSET, "max")])
        for row in grouped.to_pylist():
            if row[PARTITION] is not None and row[f"{OFFSET}_max"] is not None:
                found[row[PARTITION]] = max(found.get(row[PARTITION], 0), row[f"{OFFSET}_max"] + 1)
    return found
