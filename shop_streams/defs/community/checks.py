"""The checks of community: rows in = rows out, and what no row of a mart may be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial, reduce
from itertools import chain
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.defs.community.cities_file import current_cities
from shop_streams.defs.community.columns import (
    FileNumbers,
    Found,
    Keys,
    Weeks,
    among,
    joined,
    keys_of,
    loaded_and_refused,
    parts,
    repeated,
    rows_of,
    two,
    wrong_pairs,
    wrong_travels,
)
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


def result(problems: Found | Sequence[str], **metadata: Any) -> dg.AssetCheckResult:
    """The result of a check that found these problems."""
    count, words = (problems.count, problems.words) if isinstance(problems, Found) else (len(problems), problems)
    return dg.AssetCheckResult(
        passed=not count, description="; ".join(words[:5]) or None, metadata={**metadata, "problems": count}
    )


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


def newest(lake: Lake, table: Table, count: int = 1) -> dict[str, int]:
    """The last partitions that have rows, and how many."""
    return dict(sorted(lake.row_counts(table).items())[-count:])


# -- rows in = rows out --------------------------------------------------------------------------------------------------


@dg.asset_check(
    asset=asset_key(STG_EVENTS),
    name="each_row_is_loaded_or_refused",
    description=f"Of the newest {NEWEST} folders, each delivered row is one row or one dead letter.",
)
def each_row_is_loaded_or_refused(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    counts, numbers, columns = newest(lake, STG_EVENTS, NEWEST), FileNumbers(), ["file", "line"]
    keys, rows = [*counts], sum(counts.values())
    of_files = [pc.starts_with(pc.field("file"), f"date={key}/") for key in keys]
    where = reduce(pc.Expression.__or__, of_files, pc.scalar(False))
    found = [numbers.of(batch) for batch in rows_of(lake, DEAD_LETTERS, columns, ["community"], where)]
    letters = joined(found)
    of_rows = partial(keys_of, lake, STG_EVENTS, columns, keys, numbers.of)
    return result(loaded_and_refused(of_rows, rows, letters, numbers), rows=rows, dead_letters=len(letters[0]))


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


@dg.asset_check(
    asset=asset_key(USERS_MART),
    name="travels_are_counted",
    description="On the newest date, each user is there once, travel_count is the length of travel_array, and a home is a city in it.",
)
def travels_are_counted(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    counts, found = newest(lake, USERS_MART), Found()
    keys, users = [*counts], sum(counts.values())
    of_users = partial(keys_of, lake, USERS_MART, ["user_id"], keys, lambda rows: two(rows["user_id"], rows["user_id"]))
    for part in parts(of_users, users):
        user, _, count = repeated(part)
        found.add(len(user), (f"user {one} has {times} rows" for one, times in zip(user, count, strict=True)))
    for rows in rows_of(lake, USERS_MART, ["user_id", "travel_count", "travel_array", "home_city"], keys):
        wrong = rows.filter(wrong_travels(rows))
        found.add(
            len(wrong),
            (
                f"user {row['user_id']}: travel_count {row['travel_count']}, {len(row['travel_array'] or [])} cities"
                for row in wrong.slice(0, 5).to_pylist()
            ),
        )
    return result(found, users=users)


@dg.asset_check(
    asset=asset_key(ZONES_MART),
    name="every_zone_in_every_week",
    description="On the newest date, each week of each month has each zone once.",
)
def every_zone_in_every_week(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    keys = [*newest(lake, ZONES_MART)]
    if keys and (waits := out_of_date(ZONES, lake, keys[0])):
        return waits
    weeks, rows = Weeks(current_cities(lake.settings.community_geo).ids if keys else np.empty(0, np.int64)), 0
    for batch in rows_of(lake, ZONES_MART, ["month", "week", "zone_id"], keys):
        weeks.add(batch)
        rows += len(batch)
    return result(weeks.wrong(), rows=rows)


def newest_pairs(lake: Lake) -> tuple[str, int, Callable[[], Iterable[Keys]]]:
    """The newest calculation date with a recommendation, the number of its pairs, and a reader of them."""
    counts = newest(lake, FRIEND_RECOMMENDATIONS)
    keys, pairs = [*counts], sum(counts.values())
    columns = ["user_left", "user_right"]
    of_pairs = partial(keys_of, lake, FRIEND_RECOMMENDATIONS, columns, keys, lambda rows: two(*rows.columns))
    return (keys[0] if keys else ""), pairs, of_pairs


@dg.asset_check(
    asset=asset_key(FRIEND_RECOMMENDATIONS),
    name="pairs_once_and_in_order",
    description="On the newest date, each pair is there once, the smaller user first.",
)
def pairs_once_and_in_order(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    _, pairs, of_pairs = newest_pairs(lake)
    return result(wrong_pairs(of_pairs, pairs), pairs=pairs)


def written_between(lake: Lake, users: np.ndarray, until: str) -> Iterator[Keys]:
    """The pairs of these users, the smaller one first, of whom one wrote to the other up to a date: from the months' facts, and other events.

    Dates that have changed since `until` was computed don't count: late rows from before its window do not repair it.
    """
    them = pa.array(users, pa.int64())
    recorded, summaries = lake.source_versions(EVENTS), lake.source_versions(USER_FACTS)
    computed = lake.modified_at(FRIEND_RECOMMENDATIONS).get(until, 0)
    later = {day for day, at in lake.modified_at(EVENTS).items() if at > computed}
    months = set(summarised(recorded, summaries, date.fromisoformat(until))) - {f"{day[:7]}-01" for day in later}
    dates = [day for day in recorded if day <= until and day not in later and f"{day[:7]}-01" not in months]
    mine = pc.field("user_id").isin(them)
    written = mine & (pc.field("kind") == "written_to") & pc.field("other").isin(them)
    facts = rows_of(lake, USER_FACTS, ["user_id", "other"], months, written)
    events = rows_of(lake, EVENTS, ["user_id", "message_to"], dates, mine & pc.field("message_to").isin(them))
    for rows in chain(facts, events):
        one, other = two(*rows.columns)
        yield np.minimum(one, other), np.maximum(one, other)


@dg.asset_check(
    asset=asset_key(FRIEND_RECOMMENDATIONS),
    name="no_pair_ever_wrote",
    description="On the newest date, no user of a pair ever wrote to the other one.",
)
def no_pair_ever_wrote(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    day, pairs, of_pairs = newest_pairs(lake)
    if pairs and (waits := out_of_date(FRIENDS, lake, day)):
        return waits
    wrong = 0
    for part in parts(of_pairs, pairs) if pairs else ():
        wrote = np.zeros(len(part[0]), bool)
        for written in written_between(lake, np.unique(np.concatenate(part)), day):
            wrote |= among(part, written)
        wrong += int(wrote.sum())
    # No ids: that two users were near each other is personal, and Dagster keeps the text.
    return result([f"{wrong} pairs wrote to each other"] if wrong else [], pairs=pairs)
