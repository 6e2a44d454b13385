"""The lake of years is what it says, and its marts are up to date: then the bench measures ticks that have nothing to do."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from shop_streams.defs.app_events import window_files
from shop_streams.defs.app_events.marts import MART as ENRICHED_MART
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.sales.marts import MART as HOURLY_MART
from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS
from shop_streams.lake.reader import Lake
from shop_streams.settings import Settings
from shop_streams_tests.bench.years_lake import Years, make_lake

YEARS = Years(datetime(2026, 3, 10, 4, 3, tzinfo=UTC), days=12, rate=0.5, full=3, small=16)


class NoStates:
    """A database that has nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def load(self) -> None:
        return None

    def save(self, _state: Any) -> None:
        pass


def test_a_lake_of_years(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_files, "SourceStates", NoStates)
    settings = Settings(home=tmp_path)
    lake, rows = Lake(settings), make_lake(settings, YEARS)
    expected = {f"2026-03-{day:02}": 16 for day in range(1, 8)} | {"2026-02-27": 16, "2026-02-28": 16}
    expected |= {"2026-03-08": 43_200, "2026-03-09": 43_200, "2026-03-10": 4 * 1800 + 3 * 30}
    for table in (EVENTS, SHOP_EVENTS):
        assert lake.row_counts(table) == expected and rows == sum(expected.values())
    events = lake.scan(EVENTS, ["event_id", "event_time", "event_date", "kafka_partition", "kafka_offset"])
    assert pc.count_distinct(events["event_id"]).as_py() == rows
    assert Counter(str(day) for day in events["event_date"].to_pylist()) == expected
    assert pc.all(pc.equal(events["event_time"].cast("date32"), events["event_date"])).as_py()
    places = set(zip(events["kafka_partition"].to_pylist(), events["kafka_offset"].to_pylist(), strict=True))
    assert places == {(number % 2, number // 2) for number in range(rows)}

    versions = ENRICHED_MART.versions(lake)
    recorded = lake.source_versions(ENRICHED)
    assert {key for key, version in versions.items() if recorded.get(key) != version} == {"2026-03-10-03:00"}
    read = lake.scan(ENRICHED, ["user_id", "window"])
    assert dict(Counter(read["window"].to_pylist())) == lake.row_counts(ENRICHED) and read["user_id"].null_count == 0
    days, of_days = HOURLY_MART.versions(lake), lake.source_versions(HOURLY)
    assert {key for key, version in days.items() if of_days.get(key) != version} == {"2026-03-10"}
    assert lake.value_counts(SHOP_EVENTS, "event_id") == expected, "the log has statistics, as Spark's commits do"
