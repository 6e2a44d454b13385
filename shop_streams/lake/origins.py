"""How far a streamed table reaches in its topic, from the statistics of its log and the few files that do not say it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from pyarrow.dataset import Dataset

from shop_streams.lake import reader

WIDEST = 1000  # partitions of one file: more of them are not looked at one by one
MOST = 2**31
PARTITION, OFFSET = "kafka_partition", "kafka_offset"
REMEMBERED = "_ends.json"  # in the table's folder; Delta ignores names that begin with an underscore

Ends = dict[int, int]
"""Kafka partition -> first offset after the last one."""


@dataclass(frozen=True)
class Told:
    """What the log tells of a file: lowest and highest partition, highest offset; None where it has no statistics."""

    path: str
    lowest: int | None
    highest: int | None
    offset: int | None

    @property
    def ends(self) -> Ends | None:
        """The file's ends, if the log says them; it does not for a file that mixes partitions."""
        if self.lowest is None or self.lowest != self.highest or self.offset is None:
            return None
        return {self.lowest: self.offset + 1}

    def may_exceed(self, found: Ends, first: int, end: int) -> bool:
        """Whether the file may have a later offset than `found`, in the partitions [first, end)."""
        if self.lowest is None or self.highest is None:
            return True
        if self.offset is None or self.highest - self.lowest > WIDEST:
            return self.lowest < end and self.highest >= first
        numbers = range(max(self.lowest, first), min(self.highest + 1, end))
        return any(found.get(number, 0) <= self.offset for number in numbers)


def ends(uri: str, first: int = 0, end: int = MOST) -> Ends:
    """The table's ends in the partitions [first, end); {} without a table or rows.

    Of the files that mix partitions, only those are opened that may have a later offset than all others, each once: what it has
    is remembered in the table's folder. A partition that is far behind the others would else have all files opened, each time.
    """
    table = reader.open_table(uri)
    if table is None or OFFSET not in dict(reader.schema(table)):
        return {}
    files, found = _told(table), Ends()
    for file in files:
        _raise(found, file.ends or {})
    mixed = [file for file in files if file.ends is None]
    known, opened = _remembered(uri), _Files(table)
    kept = {file.path: known[file.path] for file in mixed if file.path in known}
    for file in sorted(mixed, key=lambda one: MOST if one.offset is None else one.offset, reverse=True):
        if file.path not in kept and file.may_exceed(found, first, end):
            kept[file.path] = opened.ends(file.path)
        _raise(found, kept.get(file.path, {}))
    if kept != known:
        _remember(uri, kept)
    return {number: reached for number, reached in found.items() if first <= number < end}


def highest_partition(uri: str) -> int:
    """The highest partition of the table's rows; 0 without rows."""
    table = reader.open_table(uri)
    if table is None or OFFSET not in dict(reader.schema(table)):
        return 0
    highest = [file.highest for file in _told(table)]
    if None in highest:
        return max(ends(uri), default=0)
    return max((one for one in highest if one is not None), default=0)


def _raise(found: Ends, other: Ends) -> None:
    for number, reached in other.items():
        found[number] = max(found.get(number, 0), reached)


def _told(table: DeltaTable) -> list[Told]:
    actions = reader.file_actions(table)
    names = {"lowest": f"min.{PARTITION}", "highest": f"max.{PARTITION}", "offset": f"max.{OFFSET}"}
    there = {"path": "path"} | {key: name for key, name in names.items() if name in actions.column_names}
    rows = actions.select(list(there.values())).rename_columns(list(there)).to_pylist() if actions.num_rows else []
    return [Told(**(dict.fromkeys(names) | row)) for row in rows]


class _Files:
    """The table's files, opened one by one."""

    def __init__(self, table: DeltaTable) -> None:
        self._table = table
        self._fragments: dict[str, Any] = {}

    def ends(self, path: str) -> Ends:
        if not self._fragments:
            dataset: Dataset = self._table.to_pyarrow_dataset()
            self._schema = dataset.schema
            self._fragments = {one.path: one for one in dataset.get_fragments()}
        found = Ends()
        fragment = self._fragments.get(path) or self._fragments[unquote(path)]  # the log encodes a partition's value
        for batch in fragment.to_batches(schema=self._schema, columns=[PARTITION, OFFSET]):
            grouped = pa.table(batch).group_by(PARTITION).aggregate([(OFFSET, "max")])
            for row in grouped.to_pylist():
                if row[PARTITION] is not None and row[f"{OFFSET}_max"] is not None:
                    _raise(found, {row[PARTITION]: row[f"{OFFSET}_max"] + 1})
        return found


def _remembered(uri: str) -> dict[str, Ends]:
    """Path of a file -> its ends, as found earlier. A file never changes."""
    try:
        saved = json.loads((Path(uri) / REMEMBERED).read_text())
        return {path: {int(number): int(reached) for number, reached in one.items()} for path, one in saved.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _remember(uri: str, kept: dict[str, Ends]) -> None:
    with suppress(OSError):  # somebody else's lake, or a full disk: the files are opened again next time
        part = Path(uri) / f"{REMEMBERED}.{os.getpid()}"
        part.write_text(json.dumps(kept))
        part.replace(Path(uri) / REMEMBERED)
