"""Events of each window, counted by the Delta log: a tick reads only files that no tick has read."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.defs.app_events import window_files
from shop_streams.defs.app_events.marts import versions_of
from shop_streams.defs.app_events.schema import EVENTS
from shop_streams.defs.app_events.window_files import count_windows
from shop_streams.lake.maintenance import compact
from shop_streams.lake.reader import Lake, open_table
from shop_streams.marts.spec import SourceUnfinished
from shop_streams.settings import Settings

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)


class States:
    """PostgreSQL's table of states."""

    saved: Any = None

    def __init__(self, _dsn: str, _mart: str) -> None:
        pass

    def load(self) -> Any:
        return States.saved

    def save(self, state: Any) -> None:
        States.saved = state


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    States.saved = None
    monkeypatch.setattr(window_files, "SourceStates", States)
    return Lake(Settings(home=tmp_path))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read so far."""
    paths: list[str] = []
    read = window_files._read

    def noted(*given: Any) -> Any:
        for path, counts in read(*given):
            paths.append(path)
            yield path, counts

    monkeypatch.setattr(window_files, "_read", noted)
    return paths


def write(lake: Lake, *times: str, day: date = DAY) -> None:
    """One file, as a batch of the stream."""
    moments = [datetime.combine(day, datetime.min.time(), UTC) + _offset(one) for one in times]
    rows = {
        "event_time": pa.array(moments, pa.timestamp("us", "UTC")),
        "event_date": pa.array([day] * len(times)),
    }
    write_deltalake(EVENTS.uri(lake.settings), pa.table(rows), mode="append", partition_by=["event_date"])


def _offset(clock: str) -> timedelta:
    hours, minutes, seconds = clock.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))


def merge(lake: Lake) -> None:
    """As the hourly compaction does."""
    table = open_table(EVENTS.uri(lake.settings))
    assert table is not None
    compact(table, "event_date", ["2026-03-01"])


def snapshot(lake: Lake) -> int:
    found = lake.version(EVENTS)
    assert found is not None
    return found


def counts(lake: Lake, *days: str) -> dict[str, int]:
    return count_windows(lake, snapshot(lake), days or ("2026-03-01",))


def test_files_of_one_window_are_counted_by_the_log_alone(lake: Lake, opened: list[str]) -> None:
    write(lake, "00:00:00", "02:59:59.998")
    write(lake, "03:00:00", "04:00:00", "05:59:00")
    write(lake, "21:00:00", day=NEXT)
    assert counts(lake) == {"2026-03-01-00:00": 2, "2026-03-01-03:00": 3}
    assert counts(lake, "2026-03-02") == {"2026-03-02-21:00": 1}
    assert counts(lake, "2026-03-03") == {} == count_windows(lake, snapshot(lake), ())
    assert opened == []


def test_the_log_has_no_microseconds_so_a_file_at_the_edge_is_read(lake: Lake, opened: list[str]) -> None:
    write(lake, "02:59:59.999999", "03:00:00")
    assert counts(lake) == {"2026-03-01-00:00": 1, "2026-03-01-03:00": 1}
    assert len(opened) == 1
    write(lake, "05:59:59.999999")
    assert counts(lake) == {"2026-03-01-00:00": 1, "2026-03-01-03:00": 2}


def test_a_merged_file_is_read_once_and_the_next_tick_reads_what_is_new(lake: Lake, opened: list[str]) -> None:
    for hour in range(24):
        write(lake, f"{hour:02}:10:00", f"{hour:02}:20:00")
    expected = {f"2026-03-01-{hour:02}:00": 6 for hour in range(0, 24, 3)}
    assert counts(lake) == expected and opened == []
    merge(lake)
    for _tick in range(3):
        assert counts(lake) == expected
    assert len(opened) == 1
    write(lake, "00:01:00", "23:01:00")
    for _tick in range(3):
        assert counts(lake) == expected | {"2026-03-01-00:00": 7, "2026-03-01-21:00": 7}
    assert len(opened) == 2
    assert len(States.saved) == 2
    merge(lake)
    assert counts(lake)["2026-03-01-00:00"] == 7
    assert len(States.saved) == 1, "files that are gone are not remembered"


@pytest.mark.parametrize("saved", [[], "text", 7, {"a": 1}], ids=str)
def test_a_state_that_can_not_be_read_is_made_again(lake: Lake, saved: Any) -> None:
    write(lake, "00:00:00", "23:00:00")
    States.saved = saved
    assert counts(lake) == {"2026-03-01-00:00": 1, "2026-03-01-21:00": 1}


def test_a_long_history_is_read_in_several_ticks(
    lake: Lake, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _file in range(3):
        write(lake, "00:00:00", "23:00:00")
    monkeypatch.setattr(window_files, "PATIENCE_SECONDS", 0.0)
    for _tick in range(2):
        with pytest.raises(SourceUnfinished):
            counts(lake)
    assert counts(lake) == {"2026-03-01-00:00": 3, "2026-03-01-21:00": 3}
    assert len(set(opened)) == len(opened) == 3


def test_the_versions_of_the_mart_cover_all_rows(lake: Lake) -> None:
    """Before the mart has computed anything, the windows' rows add up to the days' rows."""
    for hour in (1, 2, 14):
        write(lake, f"{hour}:00:00", "23:59:00")
        write(lake, f"{hour}:00:00", day=NEXT)
    rows: Counter[str] = Counter()
    found: Mapping[str, int] = versions_of(lake, snapshot(lake))
    for window, version in found.items():
        rows[window[:10]] += version & (2**36 - 1)
    assert rows == lake.row_counts(EVENTS)
