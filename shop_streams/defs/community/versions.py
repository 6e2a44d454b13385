"""The source version of each date of the events, without a JVM.

A date's events come from rows of several folders, and a row may be there more than once. So the version of a date covers
its distinct event ids: their number, and the sum of their hashes. Rows that are delivered again change nothing.

The versions are a function of STG's content alone. The state of the last comparison only tells which folders need not be
read again: those with the same files. It keeps for each folder what it contributes to each date.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.defs.community.schema import STG_EVENTS
from shop_streams.lake.reader import Lake, batches, prune_to
from shop_streams.marts.version import version_of

CHUNK_ROWS = 5_000_000  # ids that are compared at once: bounds the memory to about 100 MB
FORM = 1  # of the saved state; a state of another form is not used

Content = tuple[int, int]
"""The number of distinct event ids, and the sum of their 64-bit hashes, modulo 2^64."""

Reader = Callable[[Collection[str], Collection[str] | None], Iterable[pa.RecordBatch]]
"""(folders, dates or None for all) -> their rows with folder_date, event_date and event_id; maybe others too."""


@dataclass(frozen=True)
class State:
    """What STG holds at a snapshot.

    `folders`: folder's date -> checksum of its files. `parts`: folder's date -> event date -> its content in this folder.
    `dates`: event date -> its content in all folders.
    """

    folders: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, Content]] = field(default_factory=dict)
    dates: Mapping[str, Content] = field(default_factory=dict)

    def folders_of(self, dates: Collection[str]) -> list[str]:
        """The folders that have rows of these dates: all that must be read to compute them."""
        wanted = set(dates)
        return sorted(folder for folder, parts in self.parts.items() if not wanted.isdisjoint(parts))

    def to_json(self) -> Any:
        """For `SourceStates`."""
        return {"form": FORM, "folders": self.folders, "parts": self.parts, "dates": self.dates}

    @staticmethod
    def from_json(found: Any) -> State:
        """What `to_json` gave; an empty state for anything else."""
        if not isinstance(found, dict) or found.get("form") != FORM:
            return State()
        parts = {folder: _contents(dates) for folder, dates in found["parts"].items()}
        return State(found["folders"], parts, _contents(found["dates"]))


def _contents(found: Mapping[str, Any]) -> dict[str, Content]:
    return {day: (content[0], content[1]) for day, content in found.items()}


def advance(state: State, folders: Mapping[str, int], read: Reader) -> State:
    """The state with these folders (folder's date -> checksum of its files), from any other one.

    Read are the folders that differ, one after the other, and then the dates whose content in them differs, if other
    folders have rows of them too. If nothing differs, the state itself is returned.
    """
    if folders == state.folders:
        return state
    parts = {folder: found for folder, found in state.parts.items() if folder in folders}
    for folder in sorted(folders):
        if folders[folder] != state.folders.get(folder):
            parts[folder] = {day: _content(ids) for day, ids in _distinct(read([folder], None), {folder}).items()}
    owners = defaultdict(list)
    for folder, found in parts.items():
        for day in found:
            owners[day].append(folder)
    changed = {
        day
        for folder in parts.keys() | state.parts.keys()
        for day in parts.get(folder, {}).keys() | state.parts.get(folder, {}).keys()
        if parts.get(folder, {}).get(day) != state.parts.get(folder, {}).get(day)
    }
    dates = {day: content for day, content in state.dates.items() if day not in changed}
    dates |= {day: parts[owners[day][0]][day] for day in changed if len(owners[day]) == 1}
    shared = {day: sum(parts[folder][day][0] for folder in owners[day]) for day in changed if len(owners[day]) > 1}
    for chunk in _chunks(shared):
        wanted = {folder for day in chunk for folder in owners[day]}
        found_ids = _distinct(read(sorted(wanted), chunk), wanted)
        dates |= {day: _content(found_ids[day]) for day in chunk}
    return State(dict(folders), parts, dates)


def _chunks(rows: Mapping[str, int]) -> Iterator[list[str]]:
    """Dates in groups with at most `CHUNK_ROWS` rows; a larger one is alone."""
    chunk: list[str] = []
    for day in sorted(rows):
        if chunk and sum(rows[one] for one in chunk) + rows[day] > CHUNK_ROWS:
            yield chunk
            chunk = []
        chunk.append(day)
    if chunk:
        yield chunk


def _distinct(batches: Iterable[pa.RecordBatch], folders: Collection[str]) -> dict[str, np.ndarray]:
    """Date -> the distinct hashes of its event ids in these folders."""
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for every in batches:
        batch = every.filter(pc.is_in(every["folder_date"].cast(pa.string()), pa.array(sorted(folders), pa.string())))
        days = batch["event_date"].cast(pa.string()).dictionary_encode()
        numbers = days.indices.to_numpy()
        hashes = np.array([mmh3.hash64(one, signed=False)[0] for one in batch["event_id"].to_pylist()], np.uint64)
        order = np.argsort(numbers, kind="stable")
        names = days.dictionary.to_pylist()
        parts = np.split(hashes[order], np.searchsorted(numbers[order], np.arange(1, len(names))))
        for day, ids in zip(names, parts, strict=False):
            found[day].append(np.unique(ids))
    return {day: np.unique(np.concatenate(ids)) for day, ids in found.items()}


def _content(hashes: np.ndarray) -> Content:
    return len(hashes), int(hashes.sum(dtype=np.uint64))


def event_versions(dates: Mapping[str, Content], cities: int, refills: Mapping[str, int]) -> dict[str, int]:
    """Event date -> version: its events, the cities (`Cities.digest`), and how often it was marked (see refills.py)."""
    return {day: version_of(count, total, cities, refills.get(day, 0)) for day, (count, total) in dates.items()}


def stg_reader(lake: Lake, snapshot: int) -> Reader:
    """A reader of STG at a version of the table, in batches: a folder may be larger than memory."""

    def read(folders: Collection[str], dates: Collection[str] | None) -> Iterator[pa.RecordBatch]:
        if folders:
            uri, columns = STG_EVENTS.uri(lake.settings), ["folder_date", "event_date", "event_id"]
            where = None if dates is None else pc.field("event_date").isin(as_dates(dates))
            yield from batches(uri, columns, where, snapshot, prune_to(STG_EVENTS, folders))

    return read


def as_dates(days: Collection[str]) -> pa.Array:
    """Partition keys as dates, ascending."""
    return pa.array(sorted(days), pa.string()).cast(pa.date32())
