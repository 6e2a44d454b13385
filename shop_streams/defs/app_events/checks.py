"""The checks of the enriched events."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.defs.app_events.marts import MART
from shop_streams.defs.app_events.partitions import WINDOW_FORMAT, WINDOW_HOURS
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import SourceMissing
from shop_streams.streaming.accounting import REPEAT_HORIZON


def events_once(events: pa.Table) -> dict[str, int]:
    """The number of rows that each window must have, computed from all events (event_id, event_time).

    An event counts unless the same event_id came before it, on the same day or one of the 7 days before.
    """
    ordered = events.sort_by([("event_id", "ascending"), ("event_time", "ascending")]).combine_chunks()
    ids, times = ordered["event_id"], ordered["event_time"]
    days = pc.floor_temporal(times, unit="day")
    near = pc.less_equal(pc.subtract(days[1:], days[:-1]), pa.scalar(REPEAT_HORIZON, pa.duration("us")))
    repeated = pc.and_(pc.equal(ids[1:], ids[:-1]), near).to_pylist()
    first = ordered.filter(pa.array([True, *(not again for again in repeated)][: len(ids)], pa.bool_()))
    floors = pc.floor_temporal(first["event_time"], multiple=WINDOW_HOURS, unit="hour")
    return {one["values"].strftime(WINDOW_FORMAT): one["counts"] for one in pc.value_counts(floors).to_pylist()}


def wrong_windows(expected: Mapping[str, int], rows: Mapping[str, int], up_to_date: set[str]) -> list[str]:
    """A text for each up-to-date window whose number of rows is not the expected one."""
    return [
        f"window {window}: {rows.get(window, 0)} rows, {expected.get(window, 0)} distinct events"
        for window in sorted(up_to_date)
        if rows.get(window, 0) != expected.get(window, 0)
    ]


@dg.asset_check(
    asset=asset_key(ENRICHED),
    name="rows_in_equal_rows_out",
    description="Each computed window has as many rows as there are distinct event_ids that first came in this window.",
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
    up_to_date = {window for window, version in recorded.items() if versions.get(window) == version}
    expected = events_once(lake.scan(EVENTS, ["event_id", "event_time"], version=snapshot))
    wrong = wrong_windows(expected, rows, up_to_date)
    return dg.AssetCheckResult(
        passed=not wrong,
        description="; ".join(wrong[:5]) or f"{len(up_to_date)} windows are right.",
        metadata={"windows": len(rows), "windows_compared": len(up_to_date), "windows_wrong": len(wrong)},
    )


@dg.asset_check(asset=asset_key(ENRICHED), name="no_null_user", description="Each row has a user_id.")
def no_null_user(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    table = lake.scan(ENRICHED, ["user_id"])
    nulls = table["user_id"].null_count if table.num_columns else 0
    return dg.AssetCheckResult(passed=nulls == 0, metadata={"null_users": nulls, "rows": table.num_rows})
