"""Files that are delivered, and what the stack makes of them: the first load by hand, then repairs without a hand.

After each step, events and marts are what the oracle computes from all files that the folder has.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet
import pytest

from shop_streams.defs.community.schema import EVENTS, FRIEND_RECOMMENDATIONS, STG_EVENTS, USERS_MART, ZONES_MART
from shop_streams.defs.community.stg_source import INITIAL_LOAD
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.simulate import community
from shop_streams_tests.defs.community import oracle, oracle_rows
from shop_streams_tests.harness import Stack, wait_for

DAYS, ROWS = 5, 1_500
MARTS: dict[Table, Callable[..., list[dict[str, Any]]]] = {
    USERS_MART: oracle.users,
    ZONES_MART: oracle.zones,
    FRIEND_RECOMMENDATIONS: oracle.friends,
}
# Not known to the oracle: when a row was computed, and how.
OURS = {"processed_dttm", "calculation_date", "depth_days", "source_rows"}


def comparable(rows: list[dict[str, Any]], columns: list[str]) -> list[tuple[str, ...]]:
    def text(value: Any) -> str:
        return str(value.replace(tzinfo=None) if isinstance(value, datetime) else value)

    return sorted(tuple(text(row[name]) for name in columns) for row in rows)


class Oracle:
    """What the tables must have, from all files that are in the landing folder now, without a forgotten user."""

    def __init__(self, stack: Stack, forgotten: int | None = None) -> None:
        settings = stack.settings
        raw = oracle_rows.raw_rows(Path(settings.community_raw))
        valid, refused = oracle_rows.verdicts(raw, datetime.now(UTC), settings.first_day)
        self.cities = oracle.read_cities(Path(settings.community_geo).read_bytes())
        self.valid, self.refused = len(valid), len(refused)
        self.events = oracle.dds([row for row in valid if row.user_id != forgotten], self.cities)
        self._expected: dict[tuple[Table, date, int], list[tuple[str, ...]]] = {}  # it is asked for again and again

    def differences(self, lake: Lake, dates: list[date], depth: int) -> list[str]:
        """The tables that differ, and where."""
        columns = [
            "user_id",
            "event_type",
            "event_time",
            "zone_id",
            "lat",
            "lon",
            "message_id",
            "message_to",
            "channel",
        ]
        found = []
        if comparable(lake.scan(EVENTS, columns).to_pylist(), columns) != comparable(self.events, columns):
            found.append("events")
        for table, expected in MARTS.items():
            names = [one.name for one in table.columns if one.name not in OURS]
            names = [name for name in names if (table, name) != (FRIEND_RECOMMENDATIONS, "local_time")]
            for day in dates:
                if (table, day, depth) not in self._expected:
                    rows = expected(self.events, self.cities, day, depth)
                    self._expected[table, day, depth] = comparable(rows, names)
                rows = lake.scan(table, names, keys=[day.isoformat()]).to_pylist()
                if comparable(rows, names) != self._expected[table, day, depth]:
                    found.append(f"{table.path} of {day}")
        return found


def written(lake: Lake, table: Table) -> dict[str, int]:
    """Partition -> when it was written."""
    return lake.modified_at(table)


def changed(before: dict[str, int], after: dict[str, int]) -> list[str]:
    return sorted(key for key, at in after.items() if before.get(key) != at)


def settled(stack: Stack, lake: Lake, dates: list[date], forgotten: int | None = None) -> Oracle:
    """The oracle, once the tables are what it says."""
    truth = Oracle(stack, forgotten)
    wait_for(
        "the tables of community",
        lambda: not truth.differences(lake, dates, 30),
        seconds=420,
        shown=lambda: truth.differences(lake, dates, 30),
    )
    return truth


def wait_for_dates(lake: Lake, table: Table, before: dict[str, int], repaired: list[str]) -> None:
    """Wait until exactly these dates are computed again. One without rows leaves no file that could tell."""

    def left() -> list[str]:
        now = written(lake, table)
        return sorted(set(changed(before, now)) ^ {day for day in repaired if day in now})

    wait_for(f"exactly the dates of {table.path}", lambda: not left(), shown=left)


@pytest.mark.timeout(3000)
def test_files_are_loaded_once_by_hand_and_then_without_a_hand(stack: Stack) -> None:
    settings, lake = stack.settings, Lake(stack.settings)
    first = datetime.now(UTC).date() - timedelta(days=DAYS + 1)
    dates = [first + timedelta(days=number) for number in range(DAYS)]
    community.days_of(settings, ROWS, 5, first, DAYS)
    assert lake.version(STG_EVENTS) is None, "nothing is loaded before somebody runs the first load"
    stack.run_job(INITIAL_LOAD)

    truth = Oracle(stack)
    assert truth.differences(lake, dates, 30) == []
    assert sum(lake.row_counts(STG_EVENTS).values()) == truth.valid and truth.refused > 0
    letters = json.loads(stack.cli("dead-letters", "list", "--domain", "community", "--limit", "1000", "--json").stdout)
    assert len(letters) == truth.refused and all(letter["file"].startswith("date=") for letter in letters)

    # The next day, and rows of an old date in it: its events, and the marts of every date that reads them.
    new = first + timedelta(days=DAYS)
    before = {table: written(lake, table) for table in (EVENTS, *MARTS)}
    community.days_of(settings, 300, 6, new, 1)
    community.late(settings, 30, 7, dates[1], new)
    settled(stack, lake, [*dates, new])
    repaired = [day.isoformat() for day in [*dates[1:], new]]
    for table in MARTS:
        wait_for_dates(lake, table, before[table], repaired)
    assert set(changed(before[EVENTS], written(lake, EVENTS))) >= {dates[1].isoformat(), new.isoformat()}

    # The same rows in another format and another folder: only STG has them twice.
    source = next(Path(settings.community_raw, f"date={dates[2]}").rglob("*.parquet"))
    rows = pa.parquet.read_table(source).to_pylist()
    again = Path(settings.community_raw, f"date={new}", "_again.jsonl")
    again.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    before = {table: written(lake, table) for table in (EVENTS, *MARTS)}
    count = lake.row_counts(STG_EVENTS)[new.isoformat()]
    shutil.move(again, again.with_name("again.jsonl"))
    wait_for("the copy", lambda: lake.row_counts(STG_EVENTS)[new.isoformat()] > count, seconds=180)
    settled(stack, lake, [*dates, new])
    for table in (EVENTS, *MARTS):
        assert changed(before[table], written(lake, table)) == [], table.path

    # A user is forgotten: nothing else changes, and a folder that is loaded again does not bring the rows back.
    user = Counter(row["user_id"] for row in truth.events).most_common(1)[0][0]
    stack.cli("forget-user", str(user), "--domain", "community", "--yes")
    for table, column in {STG_EVENTS: "user_id", EVENTS: "user_id", USERS_MART: "user_id"}.items():
        assert lake.scan(table, [column], pc.field(column) == user).num_rows == 0, table.path
    settled(stack, lake, [*dates, new], forgotten=user)
    before = {table: written(lake, table) for table in (STG_EVENTS, EVENTS)}
    again.with_name("again.jsonl").rename(again.with_name("more.jsonl"))
    wait_for("the folder", lambda: changed(before[STG_EVENTS], written(lake, STG_EVENTS)), seconds=180)
    settled(stack, lake, [*dates, new], forgotten=user)
    assert changed(before[EVENTS], written(lake, EVENTS)) == []
    assert lake.scan(STG_EVENTS, ["user_id"], pc.field("user_id") == user).num_rows == 0
