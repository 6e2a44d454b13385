"""The checks of the enriched events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.defs.app_events.marts import MART
from shop_streams.defs.app_events.partitions import windows
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.lake import bounded, earlier_ids, reader
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake, prune_to
from shop_streams.marts.spec import SourceMissing
from shop_streams.marts.states import SourceStates
from shop_streams.streaming.accounting import REPEAT_HORIZON

CHECKED = f"{ENRICHED.path} rows_in_equal_rows_out"  # the name of what the check remembers
PATIENCE_SECONDS = 30.0  # of one evaluation: windows of a long history are looked at in the next ones

Checked = dict[str, list[int]]
"""Window -> the source version and the number of rows with which it was looked at, and the number of rows it must have."""


def distinct_events(lake: Lake, snapshot: int, window: str, by_hash: bool = True) -> int:
    """The number of rows that the window must have, counted from the events and not as the mart counts them.

    An event counts unless the same event_id came before it, on the same day or one of the 7 days before. Only the window's ids
    are kept in memory. `by_hash` is three times as fast, and two ids may have the same hash.
    """
    bounds = windows.time_window_for_partition_key(window)
    first, day = (bounds.start - REPEAT_HORIZON).date(), bounds.start.date()
    days = [str(day - timedelta(days=number)) for number in range(REPEAT_HORIZON.days + 1)]
    table = reader.open_table(EVENTS.uri(lake.settings), snapshot)
    if table is None:
        raise SourceMissing(f"{EVENTS.path} was there a moment ago and is gone.")
    at, on = pc.field("event_time"), pc.field("event_date")
    mine = (on == day) & (at >= bounds.start) & (at < bounds.end)
    before = (on >= first) & (on <= day) & (at < bounds.start)
    files = earlier_ids.files_before(table, "event_time", pa.scalar(bounds.start, pa.timestamp("us", "UTC")))
    with bounded.database() as database:
        columns = earlier_ids.id_and_hash(table, "event_id", null_hash=not by_hash)
        database.register("found", bounded.rows(table, columns, mine, prune_to(EVENTS, [str(day)])))
        database.execute("create table inside as select distinct id, hash from found")
        uri, week = EVENTS.uri(lake.settings), prune_to(EVENTS, days)
        return earlier_ids.count_new(database, table, uri, "event_id", week, files, before)


def remembered(state: Any, current: Mapping[str, tuple[int, int]]) -> Checked:
    """What is known of windows that are as they were. `current`: window -> its source version and its number of rows."""
    saved = state if isinstance(state, dict) else {}
    return {
        window: saved[window]
        for window, numbers in current.items()
        if isinstance(saved.get(window), list) and len(saved[window]) == 3 and saved[window][:2] == list(numbers)
    }


def wrong_windows(checked: Checked) -> list[str]:
    """A text for each window whose number of rows is not the expected one."""
    return [
        f"window {window}: {rows} rows, {expected} distinct events"
        for window, (_, rows, expected) in sorted(checked.items())
        if rows != expected
    ]


@dg.asset_check(
    asset=asset_key(ENRICHED),
    name="rows_in_equal_rows_out",
    description="Each computed window has as many rows as there are distinct event_ids that first came in this window. A window is "
    "looked at when it was computed, not each time.",
)
def rows_in_equal_rows_out(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    computed = lake.version(ENRICHED)
    recorded, rows = lake.source_versions(ENRICHED, computed), lake.row_counts(ENRICHED, computed)
    try:
        snapshot = MART.source.snapshot(lake)
        versions = MART.versions(lake, snapshot)
    except SourceMissing as error:
        return dg.AssetCheckResult(passed=True, description=str(error))
    # A window that is out of date waits for the repair sensor. It is not an error.
    current = {
        window: (version, rows.get(window, 0))
        for window, version in recorded.items()
        if versions.get(window) == version
    }
    states, began = SourceStates(lake.settings.postgres, CHECKED), time.monotonic()
    saved = states.load()
    checked = remembered(saved, current)
    new = sorted(current.keys() - checked.keys(), reverse=True)
    for window in new:
        expected = distinct_events(lake, snapshot, window)
        if expected != rows.get(window, 0):
            expected = distinct_events(lake, snapshot, window, by_hash=False)
        checked[window] = [*current[window], expected]
        if time.monotonic() - began > PATIENCE_SECONDS:
            break
    if checked != saved:
        states.save(checked)
    wrong, left = wrong_windows(checked), len(current) - len(checked)
    right = f"{len(checked)} windows are right" + (f"; {left} older ones are looked at next" if left else "") + "."
    return dg.AssetCheckResult(
        passed=not wrong,
        description="; ".join(wrong[:5]) or right,
        metadata={
            "windows": len(rows),
            "windows_compared": len(checked),
            "windows_left": left,
            "windows_wrong": len(wrong),
        },
    )


@dg.asset_check(asset=asset_key(ENRICHED), name="no_null_user", description="Each row has a user_id.")
def no_null_user(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    version = lake.version(ENRICHED)
    rows, filled = lake.row_counts(ENRICHED, version), lake.value_counts(ENRICHED, "user_id", version)
    # The Delta log counts nulls. Only the windows are read for which it does not say that there are none.
    unsure = [window for window, count in rows.items() if filled.get(window, 0) != count]
    nulls = lake.scan(ENRICHED, ["user_id"], version=version, keys=unsure)["user_id"].null_count if unsure else 0
    return dg.AssetCheckResult(passed=nulls == 0, metadata={"null_users": nulls, "rows": sum(rows.values())})
