"""A click changes the versions of the half hours that it reaches, and of no others."""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.defs.clickstream import versions
from shop_streams.defs.clickstream.versions import State, advance, steps
from shop_streams.marts.version import rows_of
from shop_streams_tests.defs.clickstream.shoppers import (
    DAY,
    HALF_HOUR,
    HOUR,
    MIDNIGHT,
    MINUTE,
    Click,
    item_stats,
    random_clicks,
    sound,
    table_of,
)


class Table:
    """A table of clicks that only grows; its versions are the numbers of its clicks."""

    def __init__(self, clicks: Sequence[Click]) -> None:
        self.clicks = clicks
        [self.whole] = table_of(clicks).to_batches()
        self.times = np.array([one.at for one in clicks])
        self.chance = np.random.default_rng(0)
        self.opened = 0

    def days(self, count: int) -> dict[str, int]:
        return dict(Counter(versions.day_of(one.half) for one in self.clicks[:count]))

    def open(self, snapshot: int, start: int, end: int, _threads: object = None) -> ds.Dataset:
        self.opened += 1
        times = self.times[:snapshot]
        rows = np.flatnonzero((times >= start) & (times < end))
        return ds.dataset(self.whole.take(pa.array(self.chance.permutation(rows))))  # a compaction changes the order

    def counts(self, snapshot: int, days: Collection[str]) -> dict[int, int]:
        self.opened += 1
        return dict(Counter(one.half for one in self.clicks[:snapshot] if versions.day_of(one.half) in days))

    def advance(self, state: State, count: int, hours: int = 24) -> State:
        return advance(state, self.days(count), self, count, hours * HOUR)


def visit_of(clicks: Sequence[Click], session: str | None, at: int) -> set[int]:
    """The half hours of the visit that goes on at `at`, or begins there."""
    if session is None:
        return {at // HALF_HOUR}
    times = sorted({one.at for one in sound(clicks) if one.session == session} | {at})
    found, last = {at // HALF_HOUR}, at
    for time in times[times.index(at) + 1 :]:
        if time - last > 30 * MINUTE:
            break
        found.add(time // HALF_HOUR)
        last = time
    return found


def may_reach(before: Sequence[Click], new: Sequence[Click]) -> set[int]:
    """The half hours of the new clicks, of their copies, and the later ones of the visits of both."""
    every = [*before, *new]
    copies = {one.identity for one in new if one.identity is not None}
    found = {one.half for one in new}
    for one in every:
        if one in new or one.identity in copies:
            found |= visit_of(every, one.session, one.at) | visit_of(before, one.session, one.at)
    return found


@pytest.mark.parametrize("hours", [1, 24])
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    span=st.sampled_from([3, 30, 100]),
)
@settings(max_examples=60, deadline=None)
def test_what_a_batch_changes_is_recomputed_and_nothing_else(
    hours: int, seed: int, sizes: list[int], span: int
) -> None:
    clicks = random_clicks(random.Random(seed), sum(sizes), span)
    table, state, count = Table(clicks), State("b"), 0
    computed: dict[int, object] = {}
    for size in sizes:
        before = clicks[:count]
        count += size
        old, state = state, table.advance(state, count, hours)
        assert {half: rows_of(version) for half, version in state.versions.items()} == Counter(
            one.half for one in clicks[:count]
        )
        differing = {
            half
            for half in state.versions.keys() | old.versions.keys()
            if state.versions.get(half) != old.versions.get(half)
        }
        computed |= {half: item_stats(clicks[:count], half, hours) for half in differing}
        assert computed == {half: item_stats(clicks[:count], half, hours) for half in state.versions}
        assert differing <= may_reach(before, clicks[len(before) : count])
    assert state == table.advance(State("b"), count, hours), "the way to a snapshot does not matter"
    back = table.advance(state, sizes[0], hours)
    assert back.versions == table.advance(State("b"), sizes[0], hours).versions, "also for an older snapshot"


def test_nothing_is_read_if_nothing_changed() -> None:
    table = Table(random_clicks(random.Random(1), 50, 30))
    state = table.advance(State("b"), 50)
    opened = table.opened
    assert table.advance(state, 50) is state and table.opened == opened


def test_deleted_clicks_are_found() -> None:
    clicks = random_clicks(random.Random(2), 60, 30)
    table = Table(clicks)
    state = table.advance(State("b"), 60)
    fewer = Table(clicks[:30])
    found = advance(state, fewer.days(30), fewer, 61, 24 * HOUR)
    assert found.versions == fewer.advance(State("b"), 30).versions


@pytest.mark.parametrize("rows", [1, 7])
def test_versions_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    table = Table(random_clicks(random.Random(3), 80, 60))
    expected = table.advance(State("b"), 80).versions
    monkeypatch.setattr(versions, "CHUNK_ROWS", rows)
    assert table.advance(State("b"), 80).versions == expected
    assert max(expected) - min(expected) > DAY // HALF_HOUR


def test_a_click_before_the_session_hours_reaches_no_further() -> None:
    visit = [Click(MIDNIGHT + number * 20 * MINUTE, origin=(0, number)) for number in range(12)]
    late = Click(MIDNIGHT + 5 * MINUTE, origin=(0, 12))
    table = Table([*visit, late])
    before = table.advance(State("b"), 12, hours=1)
    after = table.advance(before, 13, hours=1)
    reached = {half - late.half for half, version in after.versions.items() if before.versions[half] != version}
    assert reached == {0, 1, 2}, "01:00 reads the clicks from 00:00 on, 01:30 those from 00:30 on"


def test_a_late_copy_of_a_click_before_the_half_hour_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy came 7 days before that click, so more than 7 days before the half hour."""
    monkeypatch.setattr(versions, "CHUNK_ROWS", 1)
    first = Click(MIDNIGHT + 20 * MINUTE, identity="x", origin=(0, 2))
    again = Click(first.at + 7 * DAY, identity="x", origin=(0, 0))
    view = Click(again.at + 20 * MINUTE, origin=(0, 1))
    table = Table([again, view, first])
    before = table.advance(State("b"), 2)
    after = table.advance(before, 3)
    assert (
        item_stats([again, view], view.half)["shop.example", "i"][1],
        item_stats(table.clicks, view.half)["shop.example", "i"][1],
    ) == (2, 1)
    assert {half for half, version in after.versions.items() if before.versions.get(half) != version} == {
        one.half for one in table.clicks
    }


@given(seed=st.integers(0, 2**32), stop=st.integers(1, 5), count=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_a_comparison_that_stops_between_days_goes_on_at_any_snapshot(seed: int, stop: int, count: int) -> None:
    """Each state on the way has the right versions of its days, and the next comparison may be of more or fewer clicks."""
    table = Table(random_clicks(random.Random(seed), 30, 150))
    whole = table.advance(State("b"), 30)
    state = State("b")
    for state in islice(steps(State("b"), table.days(30), table, 30, 24 * HOUR), stop):
        assert state.versions == {
            half: version for half, version in whole.versions.items() if versions.day_of(half) in state.days
        }
        assert state.whole == (state.days == whole.days)
    assert table.advance(state, count) == table.advance(State("b"), count)
    assert table.advance(table.advance(state, count), 30) == whole


def test_a_comparison_that_stopped_is_not_continued_at_an_older_snapshot() -> None:
    """It stopped before the day of a late click, whose visit reaches a half hour that was compared already."""
    noon = Click(MIDNIGHT + 12 * HOUR, session="0:other:s")
    table = Table([noon, Click(MIDNIGHT + 5 * MINUTE), Click(MIDNIGHT - 10 * MINUTE)])
    stopped = next(steps(table.advance(State("b"), 1), table.days(3), table, 3, 24 * HOUR))
    assert list(stopped.days) == [versions.day_of(noon.half)] and not stopped.whole
    assert table.advance(stopped, 2) == table.advance(State("b"), 2)


def test_scattered_half_hours_of_a_day_are_looked_up_together() -> None:
    clicks = [Click(MIDNIGHT + hour * HOUR, session=f"{hour}:s") for hour in range(24)]
    table = Table([*clicks, *[replace(one, at=one.at + MINUTE) for one in clicks]])
    state = table.advance(State("b"), 24)
    table.opened = 0
    after = table.advance(state, 48)
    assert table.opened == 5, "for the numbers, the sessions, what these reach, and twice for the versions"
    assert after.versions == table.advance(State("b"), 48).versions
