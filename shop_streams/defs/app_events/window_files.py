"""The number of events in each window, by the Delta log's statistics; a file is read once at most.

A file that a stream's batch wrote lies within one window, so the log counts its rows. A merged file of several windows is read,
and its counts are remembered by its name: files never change.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from shop_streams.defs.app_events.partitions import WINDOW_FORMAT, WINDOW_HOURS
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.lake import reader
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import SourceUnfinished
from shop_streams.marts.states import SourceStates

WINDOW = WINDOW_HOURS * 3_600_000_000  # microseconds
MILLISECOND = 1000  # the log's times have no finer part
PATIENCE_SECONDS = 30.0  # Dagster ends a sensor's tick after 60
_MOMENT = pa.timestamp("us", "UTC")

FileCounts = Mapping[str, Mapping[str, int]]
"""Path of a file -> window -> number of its events."""


def count_windows(lake: Lake, snapshot: int, days: Collection[str]) -> dict[str, int]:
    """Window -> number of its events, of these days, at a version of the table of events."""
    table = reader.open_table(EVENTS.uri(lake.settings), snapshot)
    if table is None or not days:
        return {}
    actions = reader.file_actions(table)
    day = actions[f"partition.{EVENTS.partition_by[0]}"].cast(pa.string())
    actions = actions.filter(pc.is_in(day, pa.array(sorted(days))))
    found = Counter[str]()
    several: set[str] = set()
    window = windows_of_files(actions)
    for path, one, count in zip(actions["path"].to_pylist(), window, actions["num_records"].to_pylist(), strict=True):
        if one is None:
            several.add(path)
        else:
            found[one] += count
    for counts in _remembered(lake, table, several, days).values():
        found.update(counts)
    return dict(found)


def windows_of_files(actions: pa.Table) -> list[str | None]:
    """The window that has all events of a file; None if they are in several, or if the log does not tell."""
    names = ("min.event_time", "max.event_time", "num_records")
    if not set(names) <= set(actions.column_names):
        return [None] * actions.num_rows
    low, high = (actions[name].cast(_MOMENT).cast(pa.int64()).to_pylist() for name in names[:2])
    return [
        key_of(first // WINDOW)
        if None not in (first, last, count) and first // WINDOW == (last + MILLISECOND) // WINDOW
        else None
        for first, last, count in zip(low, high, actions["num_records"].to_pylist(), strict=True)
    ]


def key_of(window: int) -> str:
    """The key of a window, from its number since 1970."""
    return datetime.fromtimestamp(window * WINDOW // 1_000_000, UTC).strftime(WINDOW_FORMAT)


def _remembered(lake: Lake, table: DeltaTable, paths: set[str], days: Collection[str]) -> FileCounts:
    """The counts of these files. The new ones are read, and the state in PostgreSQL has these files afterwards.

    Raises:
        SourceUnfinished: there are so many new ones that the next call goes on.
    """
    if not paths:
        return {}
    states, began = SourceStates(lake.settings.postgres, ENRICHED.path), time.monotonic()
    known = {path: counts for path, counts in _valid(states.load()).items() if path in paths}
    new = paths - known.keys()
    for path, counts in _read(table, new, days) if new else ():
        known[path] = dict(counts)
        if known.keys() < paths and time.monotonic() - began > PATIENCE_SECONDS:
            states.save(known)
            raise SourceUnfinished(
                f"{EVENTS.path}: counting its history, {len(known)} of {len(paths)} files are read. The next tick goes on."
            )
    if known.keys() != paths:
        raise ValueError(f"{EVENTS.path}: the files {sorted(paths - known.keys())} of the Delta log can't be found")
    if new:
        states.save(known)
    return known


def _valid(state: Any) -> FileCounts:
    return state if isinstance(state, dict) and all(isinstance(one, dict) for one in state.values()) else {}


def _read(table: DeltaTable, paths: Collection[str], days: Collection[str]) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Each file with its counts, in batches: a day has more events than fit into memory."""
    dataset = table.to_pyarrow_dataset(file_pruning_predicate=reader.prune_to(EVENTS, days))
    for file in dataset.get_fragments():
        if file.path not in paths:
            continue
        found = Counter[str]()
        # One batch ahead: Arrow reads 16 ahead by default.
        for batch in file.to_batches(dataset.schema, columns=["event_time"], batch_readahead=1, use_threads=False):
            numbers = batch["event_time"].cast(_MOMENT).cast(pa.int64()).to_numpy() // WINDOW
            for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
                found[key_of(int(number))] += int(count)
        yield file.path, found
