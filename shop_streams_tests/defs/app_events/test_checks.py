"""What the check of the enriched events counts."""

from collections import Counter
from datetime import UTC, datetime

import pyarrow as pa

from shop_streams.defs.app_events.checks import events_once, wrong_windows


def test_the_check_counts_an_event_once_within_7_days() -> None:
    def at(day: int, hour: int) -> datetime:
        return datetime(2026, 1, day, hour, tzinfo=UTC)

    cases = [
        ("again", [at(1, 1), at(1, 2), at(1, 4)], {"2026-01-01-00:00": 1}),
        ("a week later", [at(1, 20), at(8, 1)], {"2026-01-01-18:00": 1}),
        ("more than a week later", [at(1, 1), at(9, 1)], {"2026-01-01-00:00": 1, "2026-01-09-00:00": 1}),
        ("within a week of a repeat", [at(1, 1), at(7, 1), at(9, 1)], {"2026-01-01-00:00": 1}),
    ]
    together: Counter[str] = Counter()
    for name, times, expected in cases:
        events = pa.table({"event_id": [name] * len(times), "event_time": pa.array(times, pa.timestamp("us", "UTC"))})
        assert events_once(events) == expected, name
        assert events_once(events.slice(0, 0)) == {}
        together.update(expected)
    every = [(name, time) for name, times, _ in cases for time in reversed(times)]
    columns = {
        "event_id": [name for name, _ in every],
        "event_time": pa.array([time for _, time in every], pa.timestamp("us", "UTC")),
    }
    assert events_once(pa.table(columns)) == together


def test_the_check_says_which_window_is_wrong_and_leaves_out_those_that_wait_for_a_repair() -> None:
    expected, rows = {"a": 2, "b": 2, "c": 1, "d": 4}, {"a": 2, "b": 3, "c": 5}
    assert wrong_windows(expected, rows, {"a", "b", "d"}) == [
        "window b: 3 rows, 2 distinct events",
        "window d: 0 rows, 4 distinct events",
    ]
