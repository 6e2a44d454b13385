"""The checks of community: rows in = rows out, and what no row of a mart may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.defs.community.cities_file import current_cities
from shop_streams.defs.community.facts import summarised
from shop_streams.defs.community.marts import DDS, FRIENDS, ZONES
from shop_streams.defs.community.schema import (
    EVENTS,
    FRIEND_RECOMMENDATIONS,
    STG_EVENTS,
    USER_FACTS,
    USERS_MART,
    ZONES_MART,
)
from shop_streams.defs.community.stg_source import FROM_STG
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.spec import Mart, SourceMissing
from shop_streams.streaming.dead_letters import DEAD_LETTERS

NEWEST = 7  # dates: a check every quarter of an hour must not read the whole table


def result(problems: Sequence[str], words: str = "", **metadata: Any) -> dg.AssetCheckResult:
    """The result of a check that found these problems."""
    shown = "; ".join(problems[:5]) or words or None
    return dg.AssetCheckResult(passed=not problems, description=shown, metadata={**metadata, "problems": len(problems)})


def out_of_date(mart: Mart, lake: Lake, key: str) -> dg.AssetCheckResult | None:
    """The result of a check of a partition that waits for the repair sensor: there is nothing to compare yet."""
    try:
        if mart.versions(lake).get(key) == lake.source_versions(mart.table).get(key):
            return None
    except SourceMissing as error:
        return dg.AssetCheckResult(passed=True, description=str(error))
    return dg.AssetCheckResult(
        passed=True, description=f"{key} is not computed from the newest rows yet: nothing was compared."
    )


def newest(lake: Lake, table: Table, count: int = 1) -> list[str]:
    """The last partitions that have rows."""
    return sorted(lake.row_counts(table))[-count:]


# -- rows in = rows out --------------------------------------------------------------------------------------------------


def loaded_and_refused(rows: pa.Table, letters: Iterable[tuple[str, int | None]]) -> list[str]:
    """A text for each (file, line) that is twice in STG, or both a row and a dead letter."""
    lines = (
        Counter(zip(rows["file"].to_pylist(), rows["line"].to_pylist(), strict=True)) if rows.num_columns else Counter()
    )
    twice = [f"{file}:{line} is loaded {count} times" for (file, line), count in lines.items() if count > 1]
    return [*twice, *[f"{file}:{line} is a row and a dead letter" for file, line in letters if (file, line) in lines]]


@dg.asset_check(
    asset=asset_key(STG_EVENTS),
    name="each_row_is_loaded_or_refused",
    description=f"Of the newest {NEWEST} folders, each delivered row is one row or one dead letter.",
)
def each_row_is_loaded_or_refused(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    keys = newest(lake, STG_EVENTS, NEWEST)
    rows = lake.scan(STG_EVENTS, ["file", "line"], keys=keys)
    refused = lake.scan(DEAD_LETTERS, ["file", "line"], pc.field("file").is_valid(), keys=["community"])
    letters = (
        [*zip(refused["file"].to_pylist(), refused["line"].to_pylist(), strict=True)] if refused.num_columns else []
    )
    return result(loaded_and_refused(rows, letters), rows=rows.num_rows, dead_letters=len(letters))


def wrong_dates(expected: Mapping[str, int], rows: Mapping[str, int], dates: Collection[str]) -> list[str]:
    """A text for each of the dates whose number of events is not the expected one."""
    return [
        f"{day}: {rows.get(day, 0)} events, {expected.get(day, 0)} distinct rows in STG"
        for day in sorted(dates)
        if rows.get(day, 0) != expected.get(day, 0)
    ]


@dg.asset_check(
    asset=asset_key(EVENTS),
    name="rows_in_equal_rows_out",
    description=f"Each of the newest {NEWEST} dates has as many events as STG has distinct rows of this date.",
)
def rows_in_equal_rows_out(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    computed = lake.version(EVENTS)
    recorded, rows = lake.source_versions(EVENTS, computed), lake.row_counts(EVENTS, computed)
    try:
        snapshot = FROM_STG.snapshot(lake)
        versions = DDS.versions(lake, snapshot)
    except SourceMissing as error:
        return dg.AssetCheckResult(passed=True, description=str(error))
    # A date that is out of date waits for the repair sensor. It is not an error.
    dates = sorted(day for day, version in recorded.items() if versions.get(day) == version)[-NEWEST:]
    folders = FROM_STG.state(lake, snapshot).folders_of(dates)
    where = pc.field("event_date").isin([date.fromisoformat(day) for day in dates])
    found = lake.scan(STG_EVENTS, ["event_date", "event_id"], where, snapshot, folders)
    distinct = (
        found.group_by("event_date").aggregate([("event_id", "count_distinct")]).to_pylist() if found.num_rows else []
    )
    expected = {str(row["event_date"]): row["event_id_count_distinct"] for row in distinct}
    return result(wrong_dates(expected, rows, dates), dates_compared=len(dates))


# -- the marts -----------------------------------------------------------------------------------------------------------


def wrong_travels(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A text for each user whose travels can't be."""
    return [
        f"user {row['user_id']}: travel_count {row['travel_count']}, {len(row['travel_array'])} cities"
        for row in rows
        if row["travel_count"] != len(row["travel_array"])
        or (row["home_city"] and row["home_city"] not in row["travel_array"])
    ]


@dg.asset_check(
    asset=asset_key(USERS_MART),
    name="travels_are_counted",
    description="On the newest date, each user is there once, travel_count is the length of travel_array, and a home is a city in it.",
)
def travels_are_counted(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    names = ["user_id", "travel_count", "travel_array", "home_city"]
    rows = lake.scan(USERS_MART, names, keys=newest(lake, USERS_MART)).to_pylist()
    users = Counter(row["user_id"] for row in rows)
    twice = [f"user {user} has {count} rows" for user, count in users.items() if count > 1]
    return result([*twice, *wrong_travels(rows)], users=len(rows))


def missing_zones(rows: Iterable[Mapping[str, Any]], zones: Collection[int]) -> list[str]:
    """A text for each week of a month that does not have each zone once."""
    weeks: dict[tuple[date, date], Counter[int]] = {}
    for row in rows:
        weeks.setdefault((row["month"], row["week"]), Counter())[row["zone_id"]] += 1
    return [
        f"month {month:%Y-%m}, week {week}: {len(found)} zones in {found.total()} rows, not {len(zones)}"
        for (month, week), found in sorted(weeks.items())
        if found != Counter(zones)
    ]


@dg.asset_check(
    asset=asset_key(ZONES_MART),
    name="every_zone_in_every_week",
    description="On the newest date, each week of each month has each zone once.",
)
def every_zone_in_every_week(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    keys = newest(lake, ZONES_MART)
    if keys and (waits := out_of_date(ZONES, lake, keys[0])):
        return waits
    rows = lake.scan(ZONES_MART, ["month", "week", "zone_id"], keys=keys).to_pylist()
    zones = current_cities(lake.settings.community_geo).ids.tolist() if rows else []
    return result(missing_zones(rows, zones), rows=len(rows))


def wrong_pairs(pairs: Iterable[tuple[int, int]]) -> list[str]:
    """A text for each pair that is there twice, or not in order."""
    counted = Counter(pairs)
    return [
        f"a pair is there {count} times" if count > 1 else "a pair is not in order"
        for (left, right), count in counted.items()
        if count > 1 or left >= right
    ]


def newest_pairs(lake: Lake) -> tuple[str, list[tuple[int, int]]]:
    """The newest calculation date with a recommendation, and its pairs."""
    keys = newest(lake, FRIEND_RECOMMENDATIONS)
    rows = lake.scan(FRIEND_RECOMMENDATIONS, ["user_left", "user_right"], keys=keys)
    pairs = (
        [*zip(rows["user_left"].to_pylist(), rows["user_right"].to_pylist(), strict=True)] if rows.num_columns else []
    )
    return (keys[0] if keys else ""), pairs


@dg.asset_check(
    asset=asset_key(FRIEND_RECOMMENDATIONS),
    name="pairs_once_and_in_order",
    description="On the newest date, each pair is there once, the smaller user first.",
)
def pairs_once_and_in_order(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    _, pairs = newest_pairs(lake)
    return result(wrong_pairs(pairs), pairs=len(pairs))


def written_between(lake: Lake, users: Collection[int], until: str) -> set[tuple[int, int]]:
    """The pairs of these users of whom one wrote to the other up to a date: from the months' facts, and other events.

    Dates that have changed since `until` was computed don't count: late rows from before its window do not repair it.
    """
    among = pa.array(sorted(users), pa.int64())
    recorded, summaries = lake.source_versions(EVENTS), lake.source_versions(USER_FACTS)
    computed = lake.modified_at(FRIEND_RECOMMENDATIONS).get(until, 0)
    later = {day for day, at in lake.modified_at(EVENTS).items() if at > computed}
    months = set(summarised(recorded, summaries, date.fromisoformat(until))) - {f"{day[:7]}-01" for day in later}
    dates = [day for day in recorded if day <= until and day not in later and f"{day[:7]}-01" not in months]
    mine = pc.field("user_id").isin(among)
    facts = lake.scan(
        USER_FACTS,
        ["user_id", "other"],
        mine & (pc.field("kind") == "written_to") & pc.field("other").isin(among),
        keys=months,
    )
    events = lake.scan(EVENTS, ["user_id", "message_to"], mine & pc.field("message_to").isin(among), keys=dates)
    found = [
        pair
        for table in (facts, events)
        if table.num_columns
        for pair in zip(*(c.to_pylist() for c in table.columns), strict=True)
    ]
    return {(min(pair), max(pair)) for pair in found}


@dg.asset_check(
    asset=asset_key(FRIEND_RECOMMENDATIONS),
    name="no_pair_ever_wrote",
    description="On the newest date, no user of a pair ever wrote to the other one.",
)
def no_pair_ever_wrote(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    day, pairs = newest_pairs(lake)
    if pairs and (waits := out_of_date(FRIENDS, lake, day)):
        return waits
    written = written_between(lake, {user for pair in pairs for user in pair}, day) if pairs else set()
    # No ids: that two users were near each other is personal, and Dagster keeps the text.
    wrong = sum(pair in written for pair in pairs)
    return result([f"{wrong} pairs wrote to each other"] if wrong else [], pairs=len(pairs))
