"""The source of the statistics of items: versions of a lake with clicks, with a saved state of any kind and without."""

import random
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shop_streams.defs.clickstream import marts, versions
from shop_streams.defs.clickstream.marts import MART, ClickSource
from shop_streams.defs.clickstream.schema import CLICKS, ITEM_STATS
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import SourceUnfinished
from shop_streams.marts.states import SourceStates
from shop_streams.marts.version import rows_of
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams_tests.defs.clickstream.shoppers import (
    DAY,
    HOUR,
    MIDNIGHT,
    MINUTE,
    Click,
    append,
    random_clicks,
)
from shop_streams_tests.harness import Stack


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The state, in memory instead of PostgreSQL."""
    states: dict[str, Any] = {}

    @dataclass
    class InMemory:
        dsn: str
        mart: str

        def load(self) -> Any:
            return states.get(self.mart)

        def save(self, state: Any) -> None:
            states[self.mart] = {**state, "versions": {str(half): one for half, one in state["versions"].items()}}

    monkeypatch.setattr(marts, "SourceStates", InMemory)
    return states


def test_versions_of_a_lake_with_and_without_a_state(tmp_path: Path, saved: dict[str, Any]) -> None:
    lake, source = Lake(Settings(lake_uri=str(tmp_path))), MART.source
    clicks = random_clicks(random.Random(5), 90, 30)
    for count in (30, 60, 90):
        append(lake, clicks[count - 30 : count])
        snapshot = source.snapshot(lake)
        found = source.versions(lake, snapshot)
        assert {key: rows_of(version) for key, version in found.items()} == {
            key: sum(one.key == key for one in clicks[:count]) for key in {one.key for one in clicks[:count]}
        }
        for other in (
            {},
            {ITEM_STATS.path: {**saved[ITEM_STATS.path], "basis": "of another table", "versions": {"0": 5}}},
        ):
            kept = dict(saved)
            saved.clear()
            saved.update(other)
            assert source.versions(lake, snapshot) == found
            saved.update(kept)
    one_hour = Lake(lake.settings.model_copy(update={"session_hours": 1}))
    assert source.versions(one_hour, snapshot) == ClickSource(CLICKS, mart="x").versions(one_hour, snapshot)


def test_a_table_that_was_restored_is_read_anew(tmp_path: Path, saved: dict[str, Any]) -> None:
    lake, source = Lake(Settings(lake_uri=str(tmp_path / "lake"))), MART.source
    clicks = random_clicks(random.Random(7), 60, 30)
    append(lake, clicks[:20])
    table, copy = Path(CLICKS.uri(lake.settings)), tmp_path / "copy"
    shutil.copytree(table, copy)
    append(lake, clicks[20:40])
    source.versions(lake, 1)
    append(lake, clicks[40:])
    assert saved[ITEM_STATS.path]["commit"] == lake.commit_checksum(CLICKS, 1), "later commits do not matter"
    shutil.rmtree(table)
    shutil.copytree(copy, table)
    known = saved[ITEM_STATS.path]
    assert known["commit"] is not None
    assert lake.commit_checksum(CLICKS, 1) is None
    early = source.versions(lake, 0)
    assert sum(map(rows_of, early.values())) == 20, "the table has no version 1"
    saved[ITEM_STATS.path] = known
    # As many clicks of each day as before: the numbers of clicks alone would say that nothing has changed.
    append(lake, [replace(one, session=None, identity=None) for one in clicks[20:40]])
    other = source.versions(lake, 1)
    saved.clear()
    assert other == source.versions(lake, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda _state: [],
        lambda _state: "text",
        lambda state: {name: value for name, value in state.items() if name != "versions"},
        lambda state: state | {"versions": None},
        lambda state: state | {"versions": {"x": 1}},
        lambda state: state | {"days": {"2026-03-10": "many"}},
        lambda state: state | {"snapshot": None},
    ],
)
def test_a_state_that_cannot_be_used_counts_as_none(
    tmp_path: Path, saved: dict[str, Any], change: Callable[[Any], Any]
) -> None:
    lake = Lake(Settings(lake_uri=str(tmp_path)))
    append(lake, random_clicks(random.Random(8), 20, 30))
    expected = MART.source.versions(lake, 0)
    good = saved[ITEM_STATS.path]
    saved[ITEM_STATS.path] = change(good)
    assert MART.source.versions(lake, 0) == expected
    assert saved[ITEM_STATS.path] == good


def test_a_state_is_kept_in_postgresql(stack: Stack) -> None:
    states = SourceStates(stack.settings.postgres, f"test_{uuid4().hex}")
    assert states.load() is None
    for value in ({"a": [1, 2**62]}, {"b": None}):
        states.save(value)
        assert states.load() == value
    for useless in (b"no zlib", zlib.compress(b"no json"), zlib.compress(b"\xff")):
        with transaction(stack.settings.postgres) as cursor:
            cursor.execute("update source_states set state = %s where mart = %s", (useless, states.mart))
        assert states.load() is None
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute("delete from source_states where mart = %s", (states.mart,))


def test_a_long_history_is_read_over_several_ticks(
    tmp_path: Path, saved: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, source = Lake(Settings(lake_uri=str(tmp_path))), MART.source
    clicks = [Click(MIDNIGHT + day * DAY + MINUTE) for day in range(4)]
    append(lake, clicks)
    expected = source.versions(lake, 0)
    saved.clear()
    monkeypatch.setattr(marts, "PATIENCE_SECONDS", -1)
    for done in (1, 2, 3):
        with pytest.raises(SourceUnfinished, match=f"{done} of 4 days are read"):
            MART.versions(lake)
        assert list(saved[ITEM_STATS.path]["days"]) == [versions.day_of(one.half) for one in clicks[:done]], (
            "the oldest first"
        )
    assert MART.versions(lake) == expected
    saved.clear()
    assert MART.versions(lake, 0) == expected, "a run reads all of it"
    append(lake, [replace(one, at=one.at + HOUR) for one in clicks])
    assert len(MART.versions(lake)) == 8, "changes of days that are known are compared at once"


def test_each_tick_reads_a_new_day_also_while_clicks_come_in(
    tmp_path: Path, saved: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To compare the days that are known may take all the time of a tick, each time."""
    lake = Lake(Settings(lake_uri=str(tmp_path)))
    clicks = [Click(MIDNIGHT + day * DAY) for day in range(4)]
    append(lake, clicks)
    monkeypatch.setattr(marts, "PATIENCE_SECONDS", -1)
    for done in (1, 2, 3):
        with pytest.raises(SourceUnfinished, match=f"{done} of 4 days are read"):
            MART.versions(lake)
        append(lake, [replace(clicks[0], at=MIDNIGHT + done * HOUR)])
    assert len(MART.versions(lake)) == 7
