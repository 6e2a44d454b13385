"""What a half hour reads of other half hours, as checksums: the page views of visits before it, and its repeats.

The rules are those of sessions.py, on numpy arrays. A thread is a session, or the copies of a click without a session id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import Expression

from shop_streams.defs.clickstream.schema import PAGE_VIEW
from shop_streams.defs.clickstream.sessions import VISIT_GAP
from shop_streams.streaming.accounting import REPEAT_HORIZON

HALF_HOUR = 1_800_000_000  # microseconds, as all times here
GAP = round(VISIT_GAP.total_seconds() * 1e6)
HORIZON = round(REPEAT_HORIZON.total_seconds() * 1e6)
SESSIONS, IDENTITIES = 0, 1  # seeds: a session and an identity with the same text differ


def hashes(texts: pa.Array, seed: int) -> np.ndarray:
    """A 64-bit hash of each text, the same on each machine; 0 for null."""
    encoded = texts.dictionary_encode()
    found = [mmh3.hash64(text, seed, signed=False)[0] or 1 for text in encoded.dictionary.to_pylist()]
    return np.array([*found, 0], np.uint64)[pc.fill_null(encoded.indices, len(found)).to_numpy(zero_copy_only=False)]


def threads_of(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray | None]:
    """The hash of each click's thread, 0 for a click that has none; and of its identity, if that was needed here."""
    found = hashes(batch["session_id"], SESSIONS)
    if batch["session_id"].null_count == 0:
        return found, None
    identities = hashes(batch["identity"], IDENTITIES)
    return np.where(found == 0, identities, found), identities


@dataclass(frozen=True)
class Threads:
    """A set of threads.

    The session ids' range lets a reader skip files: ids begin with a time, so those of other days are in another range.
    """

    hashes: np.ndarray  # sorted
    lowest: str | None
    highest: str | None
    alone: bool  # whether there are clicks without a session id

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch]) -> Threads:
        """The threads of these clicks."""
        found, ends, alone = [np.empty(0, np.uint64)], set[str](), False
        for batch in batches:
            found.append(np.unique(threads_of(batch)[0]))
            alone |= batch["session_id"].null_count > 0
            ends |= {end for end in pc.min_max(batch["session_id"]).as_py().values() if end is not None}
        every = np.unique(np.concatenate(found))
        return cls(every[every != 0], min(ends, default=None), max(ends, default=None), alone)

    def include(self, thread: np.ndarray) -> np.ndarray:
        """Whether each thread is one of these."""
        if not len(self.hashes):
            return np.zeros(len(thread), np.bool_)
        places = np.minimum(np.searchsorted(self.hashes, thread), len(self.hashes) - 1)
        found: np.ndarray = self.hashes[places] == thread
        return found

    @property
    def may_have(self) -> Expression:
        """True of each click of these threads, and of some others."""
        session, identity = pc.field("session_id"), pc.field("identity")
        parts = []
        if self.lowest is not None:
            parts.append((session >= self.lowest) & (session <= self.highest))
        if self.alone:
            parts.append(session.is_null() & identity.is_valid())
        if not parts:
            return pc.scalar(False)
        return parts[0] if len(parts) == 1 else parts[0] | parts[1]


@dataclass(frozen=True)
class Clicks:
    """Clicks that are not corrupt, a column each."""

    at: np.ndarray
    thread: np.ndarray
    identity: np.ndarray  # 0 without one
    page_view: np.ndarray
    partition: np.ndarray
    offset: np.ndarray

    def __getitem__(self, which: np.ndarray) -> Clicks:
        return Clicks(*[getattr(self, name)[which] for name in self.__dataclass_fields__])

    def sorted_by(self, key: np.ndarray) -> np.ndarray:
        """The order by `key`, and within it by (time, partition, offset)."""
        return np.lexsort((self.offset, self.partition, self.at, key))


def click_columns(batches: Iterable[pa.RecordBatch], threads: Threads) -> Clicks:
    """The clicks of these threads that are not corrupt."""
    parts = [_columns(batch, threads) for batch in batches]
    kinds = (np.int64, np.uint64, np.uint64, np.bool_, np.int32, np.int64)
    return Clicks(*[np.concatenate([np.empty(0, kinds[n]), *[part[n] for part in parts]]) for n in range(len(kinds))])


def _columns(batch: pa.RecordBatch, threads: Threads) -> tuple[np.ndarray, ...]:
    thread, identity = threads_of(batch)
    mine = threads.include(thread) & ~pc.fill_null(batch["corrupt"], False).to_numpy(zero_copy_only=False)
    batch, thread = batch.filter(pa.array(mine)), thread[mine]
    return (
        batch["clicked_at"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy(),
        thread,
        hashes(batch["identity"], IDENTITIES) if identity is None else identity[mine],
        pc.fill_null(pc.equal(batch["event_type"], PAGE_VIEW), False).to_numpy(zero_copy_only=False),
        batch["kafka_partition"].to_numpy(),
        batch["kafka_offset"].to_numpy(),
    )


def digests(clicks: Clicks, wanted: np.ndarray, session: int) -> dict[int, tuple[int, int]]:
    """Half hour -> checksums of the page views before it, and of its repeats. Half hours with (0, 0) are missing.

    `session`: how long before the half hour clicks count, microseconds. `clicks` has all clicks of each thread of the
    `wanted` half hours, from `HORIZON` + `session` before the first one.
    """
    again = repeats(clicks)
    mine = again & np.isin(clicks.at // HALF_HOUR, wanted)
    origins = mixed(mixed(clicks.partition[mine].astype(np.uint64)) + clicks.offset[mine].astype(np.uint64))
    repeated = summed(clicks.at[mine] // HALF_HOUR, origins)
    sound = clicks[~again]
    sound = sound[sound.sorted_by(sound.thread)]
    entries, views = carried(sound, wanted, session)
    before = summed(sound.at[entries] // HALF_HOUR, mixed(sound.thread[entries] + mixed(views.astype(np.uint64))))
    return {half: (before.get(half, 0), repeated.get(half, 0)) for half in before.keys() | repeated.keys()}


def repeats(clicks: Clicks) -> np.ndarray:
    """Whether each click has the identity of an earlier one, at most `HORIZON` before."""
    order = clicks.sorted_by(clicks.identity)
    identity, at = clicks.identity[order], clicks.at[order]
    again = np.zeros(len(order), np.bool_)
    again[order[1:]] = (identity[1:] == identity[:-1]) & (identity[1:] != 0) & (at[1:] - at[:-1] <= HORIZON)
    return again


def carried(sound: Clicks, wanted: np.ndarray, session: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a visit enters a wanted half hour (row numbers), and its page views before, if it has any.

    `sound` is sorted by thread and time.
    """
    if not len(sound.at):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    half = sound.at // HALF_HOUR
    goes_on = np.zeros(len(half), np.bool_)
    goes_on[1:] = (sound.thread[1:] == sound.thread[:-1]) & (np.diff(sound.at) <= GAP)
    begin = np.maximum.accumulate(np.where(goes_on, 0, np.arange(len(half))))
    enters = goes_on.copy()
    enters[1:] &= half[1:] != half[:-1]
    entries = np.flatnonzero(enters & np.isin(half, wanted))
    since = begin[entries]
    cut = half[entries] * HALF_HOUR - session
    for long in np.flatnonzero(sound.at[since] < cut):
        first, last = since[long], entries[long]
        since[long] = first + np.searchsorted(sound.at[first:last], cut[long])
    views = np.concatenate(([0], np.cumsum(sound.page_view)))
    found = views[entries] - views[since]
    return entries[found > 0], found[found > 0]


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Each number with its bits mixed (the finalizer of splitmix64), so that a sum of them is a checksum of the set."""
    found = numbers + np.uint64(0x9E3779B97F4A7C15)
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))


def summed(halves: np.ndarray, numbers: np.ndarray) -> dict[int, int]:
    """Half hour -> sum of its numbers, modulo 2**64."""
    order = np.argsort(halves, kind="stable")
    found, starts = np.unique(halves[order], return_index=True)
    sums = np.add.reduceat(numbers[order], starts) if len(starts) else numbers
    return dict(zip(found.tolist(), sums.tolist(), strict=True))
