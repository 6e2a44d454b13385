"""What the checks of the enriched events count, and what they read."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.defs.app_events import checks, window_files
from shop_streams.defs.app_events.checks import distinct_events, no_null_user, rows_in_equal_rows_out, wrong_windows
from shop_streams.defs.app_events.marts import versions_of
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.lake.reader import Lake
from shop_streams.settings import Settings

WINDOWS = [f"{date(2026, 1, 1) + timedelta(days=day)}-{hour:02}:00" for day in range(9) for hour in range(0, 24, 3)]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    saved: dict[str, Any] = {}

    class States:
        """PostgreSQL's table of states."""

        def __init__(self, _dsn: str, name: str) -> None:
            self._name = name

        def load(self) -> Any:
            return saved.get(self._name)

        def save(self, state: Any) -> None:
            saved[self._name] = state

    for module in (checks, window_files):
        monkeypatch.setattr(module, "SourceStates", States)
    return Lake(Settings(home=tmp_path))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The windows whose events were counted."""
    found: list[str] = []

    def counted(lake: Lake, snapshot: int, window: str, by_hash: bool = True) -> int:
        found.extend([window] * by_hash)  # one that looks wrong is counted again by its ids
        return distinct_events(lake, snapshot, window, by_hash)

    monkeypatch.setattr(checks, "distinct_events", counted)
    return found


def at(day: int, hour: int) -> datetime:
    return datetime(2026, 1, day, hour, tzinfo=UTC)


def arrive(lake: Lake, events: Iterable[tuple[str, datetime]], hashed: bool = False) -> None:
    """Rows of these ids and times; with `hashed`, as this version writes them. Long ids with the same beginning have one hash."""
    given = list(events)
    columns = {
        "event_id": pa.array([name for name, _ in given]),
        "event_time": pa.array([time for _, time in given], pa.timestamp("us", "UTC")),
        "event_date": pa.array([time.date() for _, time in given]),
    }
    if hashed:
        columns["event_id_hash"] = pa.array([crc32(name[:10].encode()) for name, _ in given], pa.int64())
    write_deltalake(EVENTS.uri(lake.settings), pa.table(columns), mode="append", partition_by=["event_date"])


def computed(lake: Lake, rows: Mapping[str, int], **changes: Any) -> None:
    """The mart's windows as if they were computed now, with these numbers of rows."""
    version = lake.version(EVENTS)
    assert version is not None
    versions = versions_of(lake, version)
    for window, count in rows.items():
        columns = {
            "user_id": pa.array(changes.get("users", [1] * count), pa.int32()),
            "window": pa.array([window] * count),
            "source_rows": pa.array([versions[window]] * count),
        }
        write_deltalake(
            ENRICHED.uri(lake.settings), pa.table(columns), mode="overwrite", partition_by=["window"],
            predicate=f"\"window\" = '{window}'",
        )  # fmt: skip


def result(check: Any, lake: Lake) -> dg.AssetCheckResult:
    found = check(lake=lake)
    assert isinstance(found, dg.AssetCheckResult)
    return found


@pytest.mark.parametrize("hashed", [True, False])
def test_the_check_counts_an_event_once_within_7_days(lake: Lake, hashed: bool) -> None:
    cases = [
        ("again", [at(1, 1), at(1, 2), at(1, 4)], {"2026-01-01-00:00": 1}),
        ("a week later", [at(1, 20), at(8, 1)], {"2026-01-01-18:00": 1}),
        ("more than a week later", [at(1, 1), at(9, 1)], {"2026-01-01-00:00": 1, "2026-01-09-00:00": 1}),
        ("within a week of a repeat", [at(1, 1), at(7, 1), at(9, 1)], {"2026-01-01-00:00": 1}),
    ]
    together: Counter[str] = Counter()
    for _name, _times, expected in cases:
        together.update(expected)
    arrive(lake, [(name, time) for name, times, _ in cases for time in reversed(times)], hashed)
    found = {window: distinct_events(lake, 0, window) for window in WINDOWS}
    assert {window: count for window, count in found.items() if count} == together


def test_two_ids_with_the_same_hash_make_no_window_wrong(lake: Lake) -> None:
    first, second = "2026-01-01-00:00", "2026-01-01-03:00"
    arrive(lake, [("the same beginning, one", at(1, 1)), ("the same beginning, two", at(1, 4))], hashed=True)
    assert distinct_events(lake, 0, second) == 0
    computed(lake, {first: 1, second: 1})
    assert result(rows_in_equal_rows_out, lake).passed


def test_the_check_says_which_window_is_wrong() -> None:
    assert wrong_windows({"b": [7, 3, 2], "a": [7, 2, 2], "c": [7, 0, 4]}) == [
        "window b: 3 rows, 2 distinct events",
        "window c: 0 rows, 4 distinct events",
    ]


def test_a_window_is_looked_at_once_and_again_when_it_or_its_source_changes(lake: Lake, looked_at: list[str]) -> None:
    first, second, third = "2026-01-01-00:00", "2026-01-01-03:00", "2026-01-02-00:00"
    arrive(lake, [("a", at(1, 1)), ("b", at(1, 1)), ("b", at(1, 4)), ("c", at(1, 4)), ("d", at(2, 1))])
    computed(lake, {first: 2, second: 1})
    for _evaluation in range(3):
        assert result(rows_in_equal_rows_out, lake).passed
    assert sorted(looked_at) == [first, second]
    computed(lake, {third: 1})
    for _evaluation in range(2):
        assert result(rows_in_equal_rows_out, lake).passed
    assert sorted(looked_at) == [first, second, third]

    computed(lake, {second: 2})  # now it has a repeat
    for _evaluation in range(3):
        found = result(rows_in_equal_rows_out, lake)
        assert not found.passed and found.description == f"window {second}: 2 rows, 1 distinct events"
    assert looked_at.count(second) == 2, "it stays red without being counted again"
    computed(lake, {second: 1})
    assert result(rows_in_equal_rows_out, lake).passed

    arrive(lake, [("e", at(1, 5))])  # late: the window waits for the repair sensor
    found = result(rows_in_equal_rows_out, lake)
    assert found.passed and found.metadata["windows_compared"].value == 1, "the later windows' versions cover it too"


def test_a_long_history_is_looked_at_in_several_evaluations_the_newest_window_first(
    lake: Lake, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PATIENCE_SECONDS", 0.0)
    keys = ["2026-01-01-00:00", "2026-01-02-00:00", "2026-01-03-00:00"]
    arrive(lake, [("a", at(1, 1)), ("b", at(2, 1)), ("c", at(3, 1))])
    computed(lake, {keys[0]: 9, keys[1]: 1, keys[2]: 1})
    left = [result(rows_in_equal_rows_out, lake) for _evaluation in range(4)]
    assert looked_at == keys[::-1]
    assert [one.metadata["windows_left"].value for one in left] == [2, 1, 0, 0]
    assert [one.passed for one in left] == [True, True, False, False]


@pytest.mark.parametrize(("users", "nulls"), [([1, 2], 0), ([1, None], 1), ([None, None], 2)], ids=str)
def test_a_row_without_a_user_is_found_by_the_log(lake: Lake, users: list[int | None], nulls: int) -> None:
    arrive(lake, [("a", at(1, 1)), ("b", at(1, 1)), ("c", at(2, 1))])
    computed(lake, {"2026-01-02-00:00": 1})
    computed(lake, {"2026-01-01-00:00": 2}, users=users)
    found = result(no_null_user, lake)
    assert found.passed == (nulls == 0)
    assert (found.metadata["null_users"].value, found.metadata["rows"].value) == (nulls, 3)


def test_windows_without_nulls_are_not_read(lake: Lake) -> None:
    arrive(lake, [("a", at(1, 1))])
    computed(lake, {"2026-01-01-00:00": 1})
    for file in Path(ENRICHED.uri(lake.settings)).rglob("*.parquet"):
        file.unlink()
    assert result(no_null_user, lake).passed
    assert result(no_null_user, Lake(Settings(home=Path("/nowhere")))).passed, "there is no table yet"
