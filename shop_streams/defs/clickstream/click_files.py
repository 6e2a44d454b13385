"""The files of the table of clicks, as versions.py reads them: only those of the wanted days, and few of them opened.

A day of a stream with an interval of 10 s has up to 8,640 files for each of its writers, before they are compacted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from pyarrow.dataset import Dataset, FileSystemDataset

from shop_streams.defs.clickstream.versions import count_clicks, days_of
from shop_streams.defs.clickstream.visits import HALF_HOUR, Threads
from shop_streams.lake import reader
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.spec import SourceMissing

MILLISECOND = 1000  # microseconds


@dataclass(frozen=True)
class ClickFiles:
    """The clicks of a table in the lake, at any snapshot (see versions.ClickTable)."""

    lake: Lake
    table: Table
    opened: dict[int, DeltaTable] = field(default_factory=dict)

    def at(self, snapshot: int) -> DeltaTable:
        """The table at a snapshot.

        Raises:
            SourceMissing: there is no table any more.
        """
        if snapshot not in self.opened:
            found = reader.open_table(self.table.uri(self.lake.settings), snapshot)
            if found is None:
                raise SourceMissing(f"{self.table.path} was there a moment ago and is gone. The next tick looks again.")
            self.opened[snapshot] = found
        return self.opened[snapshot]

    def open(self, snapshot: int, start: int, end: int, threads: Threads | None = None) -> Dataset:
        """The files that may have clicks of [start, end), and of these threads."""
        actions = self._actions(snapshot, days_of(start, end))
        return self._dataset(snapshot, actions.filter(may_have(actions, start, end, threads)))

    def counts(self, snapshot: int, days: Collection[str]) -> dict[int, int]:
        """Half hour -> number of its clicks, of these days. A file within one half hour is counted from the log."""
        actions = self._actions(snapshot, days)
        half = half_hours_of_files(actions)
        found = Counter[int]()
        for one, rows in zip(half.tolist(), actions["num_records"].to_pylist(), strict=True):
            if one >= 0:
                found[one] += rows
        found.update(count_clicks(self._dataset(snapshot, actions.filter(pa.array(half < 0)))))
        return dict(found)

    @property
    def _day(self) -> str:
        return self.table.partition_by[0]

    def _actions(self, snapshot: int, days: Collection[str]) -> pa.Table:
        actions = reader.file_actions(self.at(snapshot))
        return actions.filter(pc.is_in(actions[f"partition.{self._day}"].cast(pa.string()), pa.array(sorted(days))))

    def _dataset(self, snapshot: int, actions: pa.Table) -> Dataset:
        # deltalake makes a dataset of 8,640 files in 4 s, with a condition for each. Here it makes only one without files.
        none = self.at(snapshot).to_pyarrow_dataset(file_pruning_predicate=[(self._day, "=", "1970-01-01")])
        fragments = [
            none.format.make_fragment(path, none.filesystem, pc.field(self._day) == pa.scalar(day, pa.date32()))
            for path, day in zip(
                *(actions[name].to_pylist() for name in ("path", f"partition.{self._day}")), strict=True
            )
        ]
        return FileSystemDataset(fragments, none.schema, none.format, none.filesystem)


def may_have(actions: pa.Table, start: int, end: int, threads: Threads | None = None) -> pa.ChunkedArray:
    """Whether each file may have clicks of [start, end), and of these threads, by the log's statistics."""
    columns = {name: actions[name] for name in actions.column_names}
    unknown = pa.chunked_array([pa.nulls(actions.num_rows)])

    def column(name: str, kind: pa.DataType) -> pa.ChunkedArray:
        return columns.get(name, unknown).cast(kind)

    moment = pa.timestamp("us", "UTC")
    late = pc.greater_equal(column("max.clicked_at", moment), pa.scalar(start - MILLISECOND, moment))
    early = pc.less(column("min.clicked_at", moment), pa.scalar(end, moment))
    found = pc.and_(pc.fill_null(late, True), pc.fill_null(early, True))
    if threads is None:
        return found
    mine = pa.chunked_array([pa.repeat(False, actions.num_rows)])
    if threads.lowest is not None:
        above = pc.greater_equal(column("max.session_id", pa.string()), threads.lowest)
        below = pc.less_equal(column("min.session_id", pa.string()), threads.highest)
        mine = pc.and_(pc.fill_null(above, True), pc.fill_null(below, True))
    if threads.alone:
        mine = pc.or_(mine, pc.fill_null(pc.greater(column("null_count.session_id", pa.int64()), 0), True))
    return pc.and_(found, mine)


def half_hours_of_files(actions: pa.Table) -> np.ndarray:
    """The half hour that has all clicks of a file, as its number since 1970; -1 if they are in several or it is unknown.

    The log has milliseconds, so a file's last click may be up to one millisecond later than the log says.
    """
    unknown = np.full(actions.num_rows, -1)
    names = ("min.clicked_at", "max.clicked_at", "num_records")
    if not set(names) <= set(actions.column_names):
        return unknown
    known = pc.and_(pc.and_(*[actions[name].is_valid() for name in names[:2]]), actions["num_records"].is_valid())
    low, high = (
        pc.fill_null(actions[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64()), 0).to_numpy() for name in names[:2]
    )
    one = (low // HALF_HOUR == (high + MILLISECOND) // HALF_HOUR) & known.to_numpy()
    return np.where(one, low // HALF_HOUR, unknown)
