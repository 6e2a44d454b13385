"""Which events there are: whose, when, of what kind, and in which folders they are delivered. One array for each property."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from shop_streams.simulate.community.people import Numbers, draw

MESSAGE, REACTION, SUBSCRIPTION, REGISTRATION = range(4)
KINDS = ("message", "reaction", "subscription", "registration")
REGISTERS_FIRST, REGISTERS_LATER = 0.7, 0.9  # of the users; the others never register
COPY_SHARE = 0.02
SAME_TIME_SHARE = 0.01
DAY = 86_400_000_000  # µs
BIG_CHANNEL = 1


@dataclass(frozen=True)
class Plan:
    """Rows to deliver. Rows with the same number are the same event: equal in everything but the folder."""

    number: Numbers  # of the event, from 0
    user: Numbers
    time: Numbers  # µs since 1970, UTC
    kind: Numbers  # index of KINDS
    channel: Numbers  # that a subscription is to; 0: any
    folder: Numbers  # day of the delivery, since 1970
    copy: Numbers  # 0, and 1 for a repeated delivery
    users: int  # in the population
    seed: int

    def part(self, chosen: Numbers) -> Plan:
        """The rows with these indexes, or where the mask is true."""
        arrays = {one.name: getattr(self, one.name) for one in fields(self)}
        return Plan(**{k: v[chosen] if isinstance(v, np.ndarray) else v for k, v in arrays.items()})

    def __len__(self) -> int:
        return len(self.number)


def plan(count: int, seed: int, first_day: int, days: int, users: int, subscribers: int) -> Plan:
    """`count` rows of `days` days from `first_day` (since 1970).

    Args:
        users: at least 2. The first of them write the most.
        subscribers: users of the big channel, at most `users`. If `count` is smaller, there are fewer.
    """
    copies = int(count * COPY_SHARE)
    number = np.arange(count - copies)
    user = 1 + (users * draw("user", seed, number) ** 2).astype(np.int64)
    big = number < subscribers
    user = np.where(big, 1 + number * users // max(1, subscribers), user)
    time = (first_day + (days * draw("day", seed, number)).astype(np.int64)) * DAY + _time_of_day(seed, number)
    kind = np.searchsorted([0.62, 0.86], draw("kind", seed, number), side="right")
    order = np.lexsort((time, user))
    unsorted: tuple[Numbers, ...] = (number, user, time, kind, big)
    return _finished([array[order] for array in unsorted], seed, copies, first_day + days - 1, users)


def _finished(columns: list[Numbers], seed: int, copies: int, last_day: int, users: int) -> Plan:
    """The plan of the sorted number, user, time, kind and membership in the big channel."""
    number, user, time, kind, big = columns
    kind = np.where(big, SUBSCRIPTION, _with_registrations(user, kind, big))
    time = _with_equal_times(seed, number, user, time, kind)
    folder = np.minimum(time // DAY + _late(seed, number), last_day)
    made = Plan(number, user, time, kind, big * BIG_CHANNEL, folder, np.zeros_like(number), users, seed)
    return _with_copies(made, copies, last_day)


def _time_of_day(seed: int, number: Numbers) -> Numbers:
    """µs since midnight; in most rows whole seconds or milliseconds, as clients write them."""
    unit = np.array([1_000_000, 1_000, 1])[np.searchsorted([0.6, 0.8], draw("unit", seed, number), side="right")]
    return (DAY * draw("time", seed, number)).astype(np.int64) // unit * unit


def _with_registrations(user: Numbers, kind: Numbers, fixed: Numbers) -> Numbers:
    """A user's first row becomes the registration, or the third, or none. Rows are sorted by user and time."""
    begin = np.flatnonzero(np.diff(user, prepend=0))
    rank = np.arange(len(user)) - np.repeat(begin, np.diff(begin, append=len(user)))
    registers = draw("registers", user)
    is_it = np.where(registers < REGISTERS_FIRST, rank == 0, (rank == 2) & (registers < REGISTERS_LATER))
    return np.where(is_it & ~fixed, REGISTRATION, kind)


def _with_equal_times(seed: int, number: Numbers, user: Numbers, time: Numbers, kind: Numbers) -> Numbers:
    """A few messages get the time of the user's message before them, as in a burst."""
    message = kind == MESSAGE
    same = np.zeros(len(user), dtype=bool)
    same[1:] = (user[1:] == user[:-1]) & message[1:] & message[:-1]
    same &= draw("same time", seed, number) < SAME_TIME_SHARE
    same[1:] &= ~same[:-1]
    before = np.roll(time, 1)
    return np.where(same, before, time)


def _late(seed: int, number: Numbers) -> Numbers:
    """Days between an event and its delivery: most are delivered on their day, some weeks later."""
    late = draw("late", seed, number)
    return np.where(late < 0.93, 0, np.where(late < 0.985, 1 + (3 * draw("short", seed, number)).astype(np.int64),
                                             4 + (17 * draw("long", seed, number)).astype(np.int64)))  # fmt: skip


def _with_copies(made: Plan, copies: int, last_day: int) -> Plan:
    """Add rows that are delivered again: in another file of the same folder, or in a later folder."""
    if not copies:
        return made
    which = (len(made) * draw("copied", made.seed, np.arange(copies))).astype(np.int64)
    which = np.unique(which)
    which = np.concatenate([which, which[np.arange(copies - len(which)) % len(which)]])
    again = made.part(which)
    later = (4 * draw("copied to", made.seed, np.arange(copies))).astype(np.int64)
    folder = np.minimum(again.folder + later, last_day)
    arrays = {one.name: np.concatenate([getattr(made, one.name), getattr(again, one.name)]) for one in fields(made)
              if isinstance(getattr(made, one.name), np.ndarray)}  # fmt: skip
    arrays["folder"][len(made) :] = folder
    arrays["copy"][len(made) :] = 1
    return Plan(**arrays, users=made.users, seed=made.seed)
