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

from shop_streams.defs.clickstream.versions import count_clicks
from shop_streams.defs.clickstream.visits import HALF_HOUR
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

    def open(self, snapshot: int, days: Collection[str]) -> Dataset:
        """The clicks of these days."""
        return self.at(snapshot).to_pyarrow_dataset(file_pruning_predicate=reader.prune_to(self.table, days))

    def counts(self, snapshot: int, days: Collection[str]) -> dict[int, int]:
        """Half hour -> number of its clicks, of these days. A file within one half hour is counted from the log."""
        actions = pa.table(self.at(snapshot).get_add_actions(flatten=True))
        wanted = pc.is_in(actions[f"partition.{self.table.partition_by[0]}"].cast(pa.string()), pa.array(sorted(days)))
        actions = actions.filter(wanted)
        half = half_hours_of_files(actions)
        found = Counter[int]()
        for one, rows in zip(half.tolist(), actions["num_records"].to_pylist(), strict=True):
            if one >= 0:
                found[one] += rows
        rest = set(actions.filter(pa.array(half < 0))["path"].to_pylist())
        if rest:
            whole = self.open(snapshot, days)
            fragments = [one for one in whole.get_fragments() if one.path in rest]
            if len(fragments) != len(rest):  # the log writes paths in another way: open all files of these days
                return count_clicks(whole)
            found.update(count_clicks(FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)))
        return dict(found)


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
