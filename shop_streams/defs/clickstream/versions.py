"""The source version of each half hour, without a JVM.

It covers exactly what the half hour's statistics depend on (see sessions.py): the number of its clicks; for each visit that
goes on in it, the page views before it; and which of its clicks are repeats. So a late click changes the versions of its own
half hour, and of the later ones that its session reaches and whose numbers can change.

The versions are a function of the table of clicks alone. The state of the last comparison (number of clicks of each day and
version of each half hour) only tells what need not be read again. The versions that the mart was computed from can't tell
that: a half hour may be computed while a later one, which the same late click reaches, still waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import Dataset, Expression

from shop_streams.defs.clickstream.visits import HALF_HOUR, HORIZON, Threads, click_columns, digests, threads_of
from shop_streams.marts.version import rows_of, version_of

CHUNK_ROWS = 500_000  # evaluated at once: bounds the memory to a few hundred MB
DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class State:
    """The versions at a `snapshot` of the table.

    `basis` is what must be the same for the next comparison to continue from here. `commit` is a checksum of the snapshot's
    commit, by which a restored table is noticed. `days`: day -> number of clicks. `versions`: half hour, as its number since
    1970 -> version. `whole`: it has all days of the snapshot; otherwise it has some, and these are right.
    """

    basis: str
    snapshot: int = -1
    commit: int | None = None
    days: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[int, int] = field(default_factory=dict)
    whole: bool = True


class ClickTable(Protocol):
    """The table of clicks."""

    def open(self, snapshot: int, start: int, end: int, threads: Threads | None = None) -> Dataset:
        """The clicks of [start, end), epoch microseconds, and of these threads, at a version of the table; maybe others too."""
        ...

    def counts(self, snapshot: int, days: Collection[str]) -> dict[int, int]:
        """Half hour -> number of its clicks, of these days."""
        ...


def advance(state: State, days: Mapping[str, int], table: ClickTable, snapshot: int, session: int) -> State:
    """The last one of `steps`. If nothing has changed, the state itself is returned."""
    for step in steps(state, days, table, snapshot, session):
        state = step
    return state


def steps(state: State, days: Mapping[str, int], table: ClickTable, snapshot: int, session: int) -> Iterator[State]:
    """The states on the way to `snapshot`, from any other one with the same basis. `session`: session_hours in microseconds.

    `days` are the numbers of clicks at the snapshot. First come the days that the state has, all at once, and then the new
    ones, a step each, from the oldest on. So a long history can be read in parts. Only the last state is whole.
    """
    days = {day: count for day, count in days.items() if count}
    if state.whole and days == state.days:
        return
    if not state.whole and snapshot < state.snapshot:
        state = State(state.basis)
    old = {day: days[day] for day in state.days if day in days}
    new = sorted(days.keys() - state.days.keys())
    parts = [old] if old != state.days or not new else []
    parts += [old | {day: days[day] for day in new[: number + 1]} for number in range(len(new))]
    for part in parts:
        found = _step(state, part, table, snapshot, session)
        if found is None:
            yield from steps(State(state.basis), days, table, snapshot, session)
            return
        state = replace(found, whole=part.keys() == days.keys())
        yield state


def _step(state: State, days: Mapping[str, int], table: ClickTable, snapshot: int, session: int) -> State | None:
    """The state with the versions of these days; None if clicks were deleted by hand.

    Then it is unknown which sessions they belonged to.
    """
    changed = {day for day in days.keys() | state.days.keys() if days.get(day, 0) != state.days.get(day, 0)}
    counts = table.counts(snapshot, changed) if changed else {}
    before = {half: rows_of(version) for half, version in state.versions.items() if day_of(half) in changed}
    differing = {half for half in counts | before if counts.get(half, 0) != before.get(half, 0)}
    if snapshot >= state.snapshot and any(counts.get(half, 0) < before.get(half, 0) for half in differing):
        return None
    later = reached(table, max(snapshot, state.snapshot), snapshot, differing, session, state.days)
    due = differing & counts.keys() | {half for half in later if day_of(half) in days}
    rows = {half: counts[half] if half in counts else rows_of(state.versions[half]) for half in due}
    kept = {half: version for half, version in state.versions.items() if half not in differing | due}
    found = kept | evaluate(table, snapshot, rows, session)
    return replace(state, snapshot=snapshot, days=dict(days), versions=found)


def day_of(half: int) -> str:
    """The day of a half hour."""
    return str(np.datetime64(half // 48, "D"))


def days_of(start: int, end: int) -> list[str]:
    """The days of [start, end), epoch microseconds."""
    return [day_of(number * 48) for number in range(start // DAY, (end - 1) // DAY + 1)]


def count_clicks(clicks: Dataset) -> dict[int, int]:
    """Half hour -> number of its clicks."""
    found = Counter[int]()
    for batch in clicks.to_batches(columns=["clicked_at"]):
        halves, counts = np.unique(halves_of(batch), return_counts=True)
        found.update(dict(zip(halves.tolist(), counts.tolist(), strict=True)))
    return dict(found)


def reached(
    table: ClickTable, newer: int, snapshot: int, changed: Iterable[int], session: int, known: Collection[str]
) -> set[int]:
    """The half hours with a click of a session that has a click in a changed half hour, at the snapshot `newer`.

    They are near enough to count the changed half hour's clicks, as a part of a visit or as copies. Half hours of one day
    are looked up together, so some earlier ones of that day may be found too. Without `known` days in reach, nothing is read.
    """
    found: set[int] = set()
    for _, halves in groupby(sorted(changed), day_of):
        group = list(halves)
        start, end = group[0] * HALF_HOUR, (group[-1] + 1) * HALF_HOUR + HORIZON + session
        if not any(day in known for day in days_of(start, end)):
            continue
        threads = own_threads(table, newer, group)
        if not len(threads.hashes):
            continue
        columns = ["clicked_at", "session_id", "identity"]
        for batch in table.open(snapshot, start, end, threads).to_batches(
            columns=columns, filter=between(start, end) & threads.may_have
        ):
            mine = threads.include(threads_of(batch)[0])
            found.update(np.unique(halves_of(batch)[mine]).tolist())
    return found


def evaluate(table: ClickTable, snapshot: int, rows: Mapping[int, int], session: int) -> dict[int, int]:
    """The version of each half hour in `rows` (half hour -> number of its clicks)."""
    found: dict[int, int] = {}
    for chunk in chunks(rows):
        start, end = chunk[0] * HALF_HOUR - HORIZON - session, (chunk[-1] + 1) * HALF_HOUR
        threads = own_threads(table, snapshot, chunk)
        clicks = table.open(snapshot, start, end, threads)
        read = between(start, end) & threads.may_have
        columns = click_columns(clicks.to_batches(columns=list(CLICK_COLUMNS), filter=read), threads)
        others = digests(columns, np.array(chunk), session)
        found |= {half: version_of(rows[half], *others.get(half, (0, 0))) for half in chunk}
    return found


CLICK_COLUMNS = ("clicked_at", "session_id", "identity", "event_type", "corrupt", "kafka_partition", "kafka_offset")


def chunks(rows: Mapping[int, int]) -> Iterator[list[int]]:
    """The half hours, ascending, in groups within one day and with at most `CHUNK_ROWS` clicks; a larger one is alone."""
    chunk: list[int] = []
    for half in sorted(rows):
        full = sum(rows[one] for one in chunk) + rows[half] > CHUNK_ROWS
        if chunk and (full or half // 48 != chunk[0] // 48):
            yield chunk
            chunk = []
        chunk.append(half)
    if chunk:
        yield chunk


def own_threads(table: ClickTable, snapshot: int, halves: Iterable[int]) -> Threads:
    """The threads with clicks in these half hours."""
    wanted = sorted(halves)
    start, end = wanted[0] * HALF_HOUR, (wanted[-1] + 1) * HALF_HOUR
    columns = ["clicked_at", "session_id", "identity"]
    batches = table.open(snapshot, start, end).to_batches(columns=columns, filter=between(start, end))
    return Threads.of(batch.filter(pa.array(np.isin(halves_of(batch), wanted))) for batch in batches)


def between(start: int, end: int) -> Expression:
    """Clicks in [start, end), epoch microseconds. The day is compared too, because it is a folder."""
    first, last = (pa.scalar(moment // DAY, pa.int32()).cast(pa.date32()) for moment in (start, end - 1))
    start_at, end_at = (pa.scalar(moment, pa.timestamp("us", "UTC")) for moment in (start, end))
    on, at = pc.field("clicked_on"), pc.field("clicked_at")
    return (on >= first) & (on <= last) & (at >= start_at) & (at < end_at)


def halves_of(batch: pa.RecordBatch) -> np.ndarray:
    """The half hour of each click, as its number since 1970."""
    found: np.ndarray = batch["clicked_at"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy() // HALF_HOUR
    return found
