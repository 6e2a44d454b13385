"""The mart against DuckDB over the same events, and its repair by late events."""

import json
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from shop_streams.defs.sales.marts import MART
from shop_streams.lake.reader import Lake
from shop_streams_tests.defs.sales.events import make_events, mart, oracle
from shop_streams_tests.harness import Stack, wait_for


def mart_runs(stack: Stack) -> list[dict[str, Any]]:
    query = """{ runsOrError(filter: {tags: [{key: ".dagster/shop_streams_mart", value: "sales_hourly_metrics"}]}) {
        ... on Runs { results { status assetMaterializations { partition } } } } }"""
    found: list[dict[str, Any]] = stack.graphql(query)["runsOrError"]["results"]
    return found


def partitions_run(stack: Stack) -> list[list[str]]:
    """The partitions of each run that recomputed the mart, out of Dagster's own record of materializations."""
    return [sorted({event["partition"] for event in run["assetMaterializations"]}) for run in mart_runs(stack)]


def new_runs(stack: Stack, before: list[list[str]]) -> list[list[str]]:
    runs = partitions_run(stack)
    for run in before:
        runs.remove(run)
    return runs


def wait_for_rest(stack: Stack) -> None:
    def settled() -> bool:
        lake = Lake(stack.settings)
        # A run materializes its partitions one by one, each a moment after its rows are there.
        idle = all(run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in mart_runs(stack))
        return idle and MART.recorded(lake) == MART.versions(lake)

    wait_for("the repair sensor to come to rest", settled)


def follows(stack: Stack, day: date, expected: list[Any]) -> bool:
    return mart(stack, str(day)) == expected


def test_the_mart_repairs_exactly_the_days_that_late_events_changed(stack: Stack, tmp_path: Path) -> None:
    first, second = date(2021, 3, 1), date(2021, 3, 10)
    start = {day: 1000 * int((day - date(1970, 1, 1)).total_seconds()) for day in (first, second)}
    events = {day: make_events(400, day.day, start[day], 24) for day in (first, second)}
    stack.produce("shop_events", [json.dumps(event).encode() for day in events for event in events[day]])
    for day in (first, second):
        wait_for(f"the mart of {day}", partial(follows, stack, day, oracle(events[day], tmp_path)))
    wait_for_rest(stack)
    before = partitions_run(stack)
    late = [make_events(1, 99, start[first], 24)[0] | {"event_type": "buy", "uid": "late"}]  # moves every metric
    stack.produce("shop_events", [json.dumps(event).encode() for event in late])
    wait_for(
        "the late event in the mart",
        lambda: mart(stack, str(first)) == oracle(events[first] + late, tmp_path),
        120,
    )
    wait_for_rest(stack)  # the row is there a moment before Dagster has the run's materialization
    assert new_runs(stack, before) == [[str(first)]], f"no other partition ran; before: {before}"


def test_ten_late_events_for_ten_old_days_are_one_run_of_just_those(stack: Stack, tmp_path: Path) -> None:
    days = [date(2018, 1, 1) + timedelta(days=9 * number) for number in range(10)]
    events = {
        day: make_events(1, number, 86_400_000 * (day - date(1970, 1, 1)).days, 24) for number, day in enumerate(days)
    }
    wait_for_rest(stack)
    before = partitions_run(stack)
    stack.produce("shop_events", [json.dumps(event).encode() for day in days for event in events[day]])
    for day in days:
        wait_for(f"the mart of {day}", partial(follows, stack, day, oracle(events[day], tmp_path)))
    wait_for_rest(stack)
    runs = new_runs(stack, before)
    assert sorted(key for run in runs for key in run) == [str(day) for day in days], "no other partition ran"
    assert len(runs) <= 3, "scattered days are one run; their events may arrive in a few batches"
