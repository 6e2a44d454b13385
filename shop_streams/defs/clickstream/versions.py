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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import Dataset, Expression

from shop_streams.defs.clickstream.visits import HALF_HOUR, HORIZON, Threads, click_columns, digests, threads_of
from shop_streams.marts.version import rows_of, version_of

CHUNK_ROWS = 2_000_000  # evaluated at once: bounds the memory to a few hundred MB


@dataclass(frozen=True)
class State:
    """The versions at a `snapshot` of the table.

    `basis` is what must be the same for the next comparison to continue from here. `commit` is the time of the snapshot's
    commit, by which a restored table is noticed. `days`: day -> number of clicks. `versions`: half hour, as its number since
    1970 -> version.
    """

    basis: str
    snapshot: int = -1
    commit: int | None = None
    days: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[int, int] = field(default_factory=dict)


Open = Callable[[int], Dataset]
"""Snapshot -> the clicks of that version of the table."""


def advance(state: State, days: Mapping[str, int], open_at: Open, snapshot: int, session: int) -> State:
    """The state at `snapshot`, from any other one with the same basis. `session`: session_hours in microseconds.

    `days` are the numbers of clicks at the snapshot. If nothing has changed, the state itself is returned.
    """
    changed = {day for day in days.keys() | state.days.keys() if days.get(day, 0) != state.days.get(day, 0)}
    if not changed:
        return state
    clicks = open_at(snapshot)
    counts = count_half_hours(clicks, changed)
    before = {half: rows_of(version) for half, version in state.versions.items() if day_of(half) in changed}
    differing = {half for half in counts | before if counts.get(half, 0) != before.get(half, 0)}
    if snapshot >= state.snapshot and any(counts.get(half, 0) < before.get(half, 0) for half in differing):
        # Clicks were deleted by hand, so it is unknown which sessions they belonged to.
        return advance(State(state.basis), days, open_at, snapshot, session)
    due = differing & counts.keys()
    if state.versions:
        newer = clicks if snapshot >= state.snapshot else open_at(state.snapshot)
        due |= reached(newer, clicks, differing, session)
    rows = {half: counts[half] if half in counts else rows_of(state.versions[half]) for half in due}
    kept = {half: version for half, version in state.versions.items() if half not in differing | due}
    return replace(state, snapshot=snapshot, days=dict(days), versions=kept | evaluate(clicks, rows, session))


def day_of(half: int) -> str:
    """The day of a half hour."""
    return str(np.datetime64(half // 48, "D"))


def count_half_hours(clicks: Dataset, days: Iterable[str]) -> dict[int, int]:
    """Half hour -> number of its clicks, of whole days."""
    found = Counter[int]()
    wanted = pc.field("clicked_on").isin([date.fromisoformat(day) for day in sorted(days)])
    for batch in clicks.to_batches(columns=["clicked_at"], filter=wanted):
        halves, counts = np.unique(halves_of(batch), return_counts=True)
        found.update(dict(zip(halves.tolist(), counts.tolist(), strict=True)))
    return dict(found)


def reached(newer: Dataset, clicks: Dataset, changed: Iterable[int], session: int) -> set[int]:
    """The later half hours with a click of a session that has a click in a changed half hour.

    They are near enough to count the changed half hour's clicks, as a part of a visit or as copies.
    """
    found: set[int] = set()
    for first, last in runs(sorted(changed)):
        threads = own_threads(newer, range(first, last + 1))
        start, end = first * HALF_HOUR, (last + 1) * HALF_HOUR + HORIZON + session
        for batch in clicks.to_batches(
            columns=["clicked_at", "session_id", "identity"], filter=between(start, end) & threads.may_have
        ):
            mine = threads.include(threads_of(batch)[0])
            found.update(np.unique(halves_of(batch)[mine]).tolist())
    return found


def runs(halves: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each unbroken run of half hours."""
    cuts = [0, *[index for index in range(1, len(halves)) if halves[index] != halves[index - 1] + 1], len(halves)]
    return ((halves[start], halves[end - 1]) for start, end in pairwise(cuts) if end > start)


def evaluate(clicks: Dataset, rows: Mapping[int, int], session: int) -> dict[int, int]:
    """The version of each half hour in `rows` (half hour -> number of its clicks)."""
    found: dict[int, int] = {}
    for chunk in chunks(rows):
        start, end = chunk[0] * HALF_HOUR - HORIZON - session, (chunk[-1] + 1) * HALF_HOUR
        threads = own_threads(clicks, chunk)
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


def own_threads(clicks: Dataset, halves: Iterable[int]) -> Threads:
    """The threads with clicks in these half hours."""
    wanted = sorted(halves)
    read = between(wanted[0] * HALF_HOUR, (wanted[-1] + 1) * HALF_HOUR)
    batches = clicks.to_batches(columns=["clicked_at", "session_id", "identity"], filter=read)
    return Threads.of(batch.filter(pa.array(np.isin(halves_of(batch), wanted))) for batch in batches)


def between(start: int, end: int) -> Expression:
    """Clicks in [start, end), epoch microseconds. The day is compared too, because it is a folder."""
    day = 86_400_000_000
    first, last = (pa.scalar(moment // day, pa.int32()).cast(pa.date32()) for moment in (start, end - 1))
    start_at, end_at = (pa.scalar(moment, pa.timestamp("us", "UTC")) for moment in (start, end))
    on, at = pc.field("clicked_on"), pc.field("clicked_at")
    return (on >= first) & (on <= last) & (at >= start_at) & (at < end_at)


def halves_of(batch: pa.RecordBatch) -> np.ndarray:
    """The half hour of each click, as its number since 1970."""
    found: np.ndarray = batch["clicked_at"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy() // HALF_HOUR
    return found
