"""The source of the statistics of items: versions of a lake with clicks, with a saved state of any kind and without."""

import random
import shutil
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from shop_streams.defs.clickstream import click_files, marts, versions
from shop_streams.defs.clickstream.click_files import ClickFiles, half_hours_of_files
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
    HALF_HOUR,
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


MICROSECOND, MILLISECOND = 1, 1000


@pytest.mark.parametrize(
    ("times", "opened"),
    [
        ([0, HALF_HOUR - 2 * MILLISECOND], False),
        ([5 * MINUTE], False),
        ([0, HALF_HOUR - MICROSECOND], True),  # the log says ....999, which may be a rounded time of the next half hour
        ([0, HALF_HOUR], True),
        ([10 * MINUTE, 70 * MINUTE], True),
    ],
)
def test_a_file_within_one_half_hour_is_counted_from_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: list[int], opened: bool
) -> None:
    lake = Lake(Settings(lake_uri=str(tmp_path)))
    clicks = [Click(MIDNIGHT + time) for time in times]
    append(lake, clicks)
    append(lake, [Click(MIDNIGHT + DAY), Click(MIDNIGHT + DAY + HOUR)])
    files, read = ClickFiles(lake, CLICKS), list[str]()
    real = click_files.count_clicks

    def spy(clicks: Any) -> dict[int, int]:
        read.extend(clicks.files)
        return real(clicks)

    monkeypatch.setattr(click_files, "count_clicks", spy)
    assert files.counts(1, [versions.day_of(clicks[0].half)]) == Counter(one.half for one in clicks)
    assert [versions.day_of(clicks[0].half) in name for name in read] == [True] * opened, (
        "the other day's file is not opened"
    )


@pytest.mark.parametrize("column", ["num_records", "min.clicked_at", "max.clicked_at"])
def test_a_file_without_statistics_is_opened(column: str) -> None:
    at = pa.array([MIDNIGHT], pa.timestamp("us", "UTC"))
    good = pa.table({"num_records": [1], "min.clicked_at": at, "max.clicked_at": at})
    assert half_hours_of_files(good).tolist() == [MIDNIGHT // HALF_HOUR]
    empty = pa.array([None], good[column].type)
    assert half_hours_of_files(good.set_column(good.column_names.index(column), column, empty)).tolist() == [-1]
    assert half_hours_of_files(good.drop_columns([column])).tolist() == [-1]


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


@pytest.mark.parametrize("seed", range(3))
def test_files_without_the_wanted_clicks_are_left_out(tmp_path: Path, seed: int) -> None:
    lake, chance = Lake(Settings(lake_uri=str(tmp_path))), random.Random(seed)
    clicks = sorted(random_clicks(chance, 60, 100), key=lambda one: one.at)
    for first in range(0, 60, 6):
        append(lake, clicks[first : first + 6])
    files, session = ClickFiles(lake, CLICKS), 24 * HOUR
    for half in {one.half for one in clicks}:
        start, end = (half - 20) * HALF_HOUR, (half + 1) * HALF_HOUR
        threads = versions.own_threads(files, 9, [half])
        for some, wanted in (
            (None, versions.between(start, end)),
            (threads, versions.between(start, end) & threads.may_have),
        ):
            opened = files.open(9, start, end, some)
            everything = files.at(9).to_pyarrow_dataset()
            names = ["kafka_partition", "kafka_offset", "clicked_on"]
            rows = [one.to_table(columns=names, filter=wanted).to_pylist() for one in (opened, everything)]
            assert sorted(map(str, rows[0])) == sorted(map(str, rows[1]))
            assert some is None or len(opened.files) < len(everything.files)
    assert versions.advance(versions.State("b"), lake.row_counts(CLICKS, 9), files, 9, session).whole
