"""The condition of a stream in words, for its check `alive` and `shop-streams status`."""

from __future__ import annotations

import re
import textwrap
import time
from dataclasses import dataclass

from shop_streams.cluster import Cluster
from shop_streams.kafka import offset_ranges, oldest_timestamp
from shop_streams.runs import START_GRACE_SECONDS, backoff_seconds
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import committed_offsets
from shop_streams.streaming.lease import Lease
from shop_streams.streaming.spec import StreamSpec

CAUSE_CHARACTERS = 200
LONG_TRANSACTION_SECONDS = 60.0  # the default limit of Kafka's producers


@dataclass(frozen=True)
class Unread:
    """What a stream has not committed: the number of offsets, and the age of the oldest record in seconds (broker's time).

    `lost` is the number of uncommitted offsets that retention has deleted. `held` is the number of offsets from the first record
    of an open transaction on, which nobody may read before it ends, and `held_age` the age of that record.
    """

    records: int
    age: float
    lost: int = 0
    held: int = 0
    held_age: float = 0.0

    @property
    def oldest(self) -> float:
        """Seconds since the oldest record that is not committed, readable or not."""
        return max(self.age, self.held_age)


def read_unread(spec: StreamSpec, settings: Settings) -> Unread:
    """Read the checkpoint and the topic.

    Raises:
        KafkaException: the broker does not answer, or has no such topic.
        TopicSilent: the broker sends no record.
    """
    servers, topic = settings.kafka, spec.topic.name
    committed = committed_offsets(spec.checkpoint(settings), topic)
    ends = offset_ranges(servers, topic, committed=False)
    ranges = offset_ranges(servers, topic)
    unread = {number: (max(low, committed.get(number, low)), high) for number, (low, high) in ranges.items()}
    held = {number: (high, ends[number][1]) for number, (_, high) in ranges.items() if high < ends[number][1]}
    records = sum(max(0, high - first) for first, high in unread.values())
    return Unread(
        records,
        _age(oldest_timestamp(servers, topic, unread) if records else None),
        sum(max(0, low - committed.get(number, low)) for number, (low, _) in ranges.items()),
        sum(end - first for first, end in held.values()),
        _age(oldest_timestamp(servers, topic, held, committed=False) if held else None),
    )


def _age(moment: float | None) -> float:
    return 0.0 if moment is None else max(0.0, time.time() - moment)


@dataclass(frozen=True)
class Condition:
    """A stream's condition. `alive`: it runs, starts, or is between two runs. `wanted`: no person has switched it off."""

    says: str
    alive: bool
    wanted: bool = True


def condition(
    lease: Lease | None, ttl: float, on: bool, unread: Unread | None, starting: float | None = None
) -> Condition:
    """The stream's condition.

    Args:
        ttl: seconds for which a beat keeps the lease fresh.
        on: whether the stream's switch is on.
        unread: None if Kafka does not answer, or was not asked.
        starting: seconds since a run was requested that has no lease yet.
    """
    waits = f", {_records(unread)} wait" if unread and unread.records else ""
    if lease is not None and lease.fresh(ttl):
        if lease.lag is None and unread is not None:
            return Condition(f"starting since {duration(lease.held_for)}{waits}", alive=True)
        by_hand = "" if on else "; a person started it while its switch is off"
        return Condition(f"running for {duration(lease.held_for)}, {behind(unread)}{by_hand}", alive=True)
    if starting is not None and on:
        return Condition(f"starting since {duration(starting)}{waits}", alive=True)
    if lease is None:
        return Condition(f"has never run{'' if on else '; its switch is off'}{waits}", alive=False, wanted=on)
    cause = f": {_cause(lease.problem)}" if lease.problem else ""
    if not on:
        failed = f"; its last run failed{cause}" if cause else ""
        return Condition(f"switched off by a person{waits}{failed}", alive=False, wanted=False)
    if lease.failures or cause:
        times = "once" if lease.failures <= 1 else f"{lease.failures} times"
        pause = backoff_seconds(lease.failures) - lease.beat_age
        again = f"in {duration(pause)}" if pause > 0 else "now"
        return Condition(f"failed {times}{cause or ': its process died or hung'}; next try {again}{waits}", alive=False)
    ago = duration(lease.beat_age)
    if lease.released and lease.beat_age < START_GRACE_SECONDS:
        return Condition(f"between two runs: stopped {ago} ago; its switch starts it again{waits}", alive=True)
    ended = f"stopped {ago} ago" if lease.released else f"silent for {ago}: its process died or hangs"
    return Condition(f"{ended}; its switch starts it again{waits}", alive=False)


def behind(unread: Unread | None, servers: Cluster | None = None) -> str:
    """How far a running stream is behind its topic: number of records, and age of the oldest; with `servers`, what to do too."""
    if unread is None:
        return "Kafka does not answer"
    says = f"{_records(unread)} = {duration(unread.age)} behind" if unread.records else "nothing waits"
    if unread.held_age < LONG_TRANSACTION_SECONDS:
        return says
    says += (
        f"; a producer's transaction is open for {duration(unread.held_age)}, and nobody can read past its first record"
    )
    find = f"kafka-transactions.sh --bootstrap-server {servers} find-hanging"
    return (
        f"{says}. If the producer has died, `{find}` names the transaction, and `abort` ends it." if servers else says
    )


def duration(seconds: float) -> str:
    """`45 s`, `14 min`, `30 h` or `3 days`: about two digits."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _records(unread: Unread) -> str:
    return f"{unread.records:,} record{'' if unread.records == 1 else 's'}"


def _cause(problem: str) -> str:
    """The first sentence of a problem's text."""
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z`])", problem.strip().splitlines()[0])[0].rstrip(".")
    return textwrap.shorten(sentence, CAUSE_CHARACTERS, placeholder=" …")
