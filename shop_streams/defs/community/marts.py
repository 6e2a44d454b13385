"""The tables of community: raw files become STG, STG becomes the events, and these the months' facts and three marts."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shop_streams.defs.community import facts
from shop_streams.defs.community.charts import zone_totals
from shop_streams.defs.community.cities_file import current_cities
from shop_streams.defs.community.friends import friends_rows
from shop_streams.defs.community.landing import Landing
from shop_streams.defs.community.partitions import days, months
from shop_streams.defs.community.positions import LastPositions
from shop_streams.defs.community.schema import (
    EVENTS,
    FRIEND_RECOMMENDATIONS,
    STG_EVENTS,
    USER_FACTS,
    USERS_MART,
    ZONES_MART,
)
from shop_streams.defs.community.source import LandingSource
from shop_streams.defs.community.stg_source import FROM_STG, INITIAL_LOAD, dates_of
from shop_streams.defs.community.transforms import events_of
from shop_streams.defs.community.users import users_rows
from shop_streams.defs.community.window import for_dates
from shop_streams.defs.community.zones import zones_rows, zones_since
from shop_streams.lake.reader import Lake
from shop_streams.marts.compare import due_now, unsettled
from shop_streams.marts.failures import MartFailures
from shop_streams.marts.history import computed_empty
from shop_streams.marts.initial import initial_load
from shop_streams.marts.sources import LakeSource
from shop_streams.marts.spec import Computation, Mart
from shop_streams.marts.window import WindowSource, first_read
from shop_streams.settings import Settings

DATES_AT_ONCE = 31  # of a plain step from rows to rows
FACTS_WAIT_SECONDS = 900.0  # marts are right without the months' facts, and only read more


# -- STG: the files of the landing folder --------------------------------------------------------------------------------


def first_load_is_by_hand(lake: Lake, _instance: dg.DagsterInstance) -> str | None:
    """Why the sensor of STG waits: nobody has loaded the history yet."""
    if lake.version(STG_EVENTS) is not None:
        return None
    return f"No date is loaded yet. Run the job {INITIAL_LOAD} once: it loads all that the landing folder has."


LANDING = LandingSource()
STG = Mart(
    table=STG_EVENTS,
    source=LANDING,
    partitions=days,
    at_once=DATES_AT_ONCE,
    sizes=LANDING.sizes,
    waits=first_load_is_by_hand,
    totals=LANDING.totals,
)


# -- DDS: each event once, with a zone -----------------------------------------------------------------------------------


POSITIONS = LastPositions()


def event_rows(stg: DataFrame, computation: Computation) -> DataFrame:
    """The events of some dates."""
    settings = computation.settings
    known = POSITIONS.of(stg.sparkSession, Lake(settings), dates_of(computation.keys))
    return events_of(stg, known, current_cities(settings.community_geo))


def event_totals(lake: Lake, key: str) -> dict[str, int]:
    """The date's numbers that the UI plots over the dates."""
    events = lake.scan(EVENTS, ["zone_id"], keys=[key])
    return {"unlocated": events["zone_id"].null_count if events.num_columns else 0}


DDS = Mart(
    table=EVENTS,
    source=FROM_STG,
    partitions=days,
    rows=event_rows,
    at_once=DATES_AT_ONCE,
    prepare=FROM_STG.mark_later_dates,
    waits=unsettled(STG),
    level=1,
    totals=event_totals,
)


# -- the months' facts ---------------------------------------------------------------------------------------------------


def month_versions(lake: Lake, snapshot: int) -> dict[str, int]:
    """The version of each month, from those of its dates."""
    return facts.month_versions(lake.source_versions(EVENTS, snapshot))


def month_rows(events: DataFrame, computation: Computation) -> DataFrame:
    """The facts of one month."""
    month = F.lit(date.fromisoformat(computation.key))
    return facts.facts(events.where(F.trunc("event_date", "month") == month)).withColumn("month", month)


FACTS = Mart(
    table=USER_FACTS,
    source=LakeSource(
        EVENTS,
        month_versions,
        mapping=dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True),  # of the running month
        missing=f"none of its dates is computed. Is the sensor {DDS.sensor} on? See the Automation page.",
    ),
    partitions=months,
    rows=month_rows,
    wait_until_closed=True,
    waits=unsettled(DDS),
    level=2,
    code_version=facts.CODE_VERSION,
)


def behind_since(months: Collection[str], events: Mapping[str, int], summaries: Mapping[str, int]) -> int | None:
    """Since when facts of these months lack events; None if they lack none.

    `events`: date -> time of its last write; `summaries`: month -> time of the last write of its facts.
    """
    late = [
        at for day, at in events.items() if (month := facts.month_of(day)) in months and at > summaries.get(month, 0)
    ]
    return min(late, default=None)


def facts_are_due(lake: Lake, instance: dg.DagsterInstance) -> str | None:
    """Why marts that ask all history wait: the facts of a month are about to be computed. Without them, its events are read.

    They wait for a limited time. Nobody may compute the facts: their sensor may be off, or their runs may fail.
    """
    now = time.time()
    due = due_now(FACTS, lake, instance, now).partitions
    since = behind_since(due, lake.modified_at(EVENTS), lake.modified_at(USER_FACTS)) if due else None
    if since is None or now - since / 1000 > FACTS_WAIT_SECONDS:
        return None
    return f"waiting: {len(due)} partitions of {USER_FACTS.path} are still to be computed, {due[0]} first"


# -- the marts by calculation date ---------------------------------------------------------------------------------------


def calculation_dates(lake: Lake) -> set[str]:
    """Each date that has or had a folder."""
    return set(Landing.of(lake.settings).dates()) | lake.source_versions(STG_EVENTS).keys()


def depth_of(settings: Settings) -> int:
    return settings.community_depth_days


def city_rows(spark: SparkSession, settings: Settings) -> DataFrame:
    """zone_id, city and timezone of each city."""
    cities = current_cities(settings.community_geo)
    rows = [*zip(cities.ids.tolist(), cities.names, cities.timezones, strict=True)]
    return spark.createDataFrame(rows, "zone_id bigint, city string, timezone string")


def reading(
    events: DataFrame, computation: Computation, since: Callable[[date, int], date | None] = first_read
) -> tuple[DataFrame, DataFrame, dict[date, date | None]]:
    """What some calculation dates read: their events (see `for_dates`), the facts of all earlier dates, and their windows."""
    depth, keys = computation.depth or 0, dates_of(computation.keys)
    first = since(keys[0], depth)
    starts = {day: first_read(day, depth) for day in keys}
    before = facts.history(events.sparkSession, Lake(computation.settings), first or date.min)
    return for_dates(events, starts, first), before, starts


def users_of(events: DataFrame, computation: Computation) -> DataFrame:
    """The users' rows of some calculation dates."""
    read, _, _ = reading(events, computation)
    return users_rows(read.where("in_window"), city_rows(events.sparkSession, computation.settings))


def zones_of(events: DataFrame, computation: Computation) -> DataFrame:
    """The zones' rows of some calculation dates."""
    read, before, starts = reading(events, computation, zones_since)
    return zones_rows(read, before, city_rows(events.sparkSession, computation.settings), starts)


def friends_of(events: DataFrame, computation: Computation) -> DataFrame:
    """The recommendations of some calculation dates."""
    read, before, _ = reading(events, computation)
    cities = city_rows(events.sparkSession, computation.settings)
    return friends_rows(read, before, cities, datetime.now(UTC))


def not_loaded(lake: Lake, instance: dg.DagsterInstance) -> str | None:
    """Why the marts wait: the folder of a date is there, and the date is not loaded. They would be computed without its rows."""
    dates = Landing.of(lake.settings).dates().keys() - lake.source_versions(STG_EVENTS).keys()
    if dates:
        dates -= (
            computed_empty(instance, STG, dates).keys() | MartFailures(lake.settings.postgres, STG.name).pauses().keys()
        )
    return f"waiting: {len(dates)} folders are not loaded yet, date={min(dates)} first" if dates else None


def mart_waits(lake: Lake, instance: dg.DagsterInstance) -> str | None:
    """Why the marts wait, or None: everything that they read is up to date."""
    return not_loaded(lake, instance) or unsettled(DDS)(lake, instance)


def history_waits(lake: Lake, instance: dg.DagsterInstance) -> str | None:
    """As `mart_waits`, for marts that ask all history."""
    return mart_waits(lake, instance) or facts_are_due(lake, instance)


WINDOW = WindowSource(upstream=DDS, dates=calculation_dates, depth=depth_of)
ZONES_WINDOW = WindowSource(
    upstream=DDS,
    dates=calculation_dates,
    depth=depth_of,
    since=zones_since,
    extra=lambda lake: current_cities(lake.settings.community_geo).digest,  # also of a window without events
)
BY_DATE: dict[str, Any] = {"partitions": days, "at_once": 10, "level": 2}
USERS = Mart(table=USERS_MART, source=WINDOW, rows=users_of, waits=mart_waits, **BY_DATE)
ZONES = Mart(table=ZONES_MART, source=ZONES_WINDOW, rows=zones_of, totals=zone_totals, waits=history_waits, **BY_DATE)
FRIENDS = Mart(table=FRIEND_RECOMMENDATIONS, source=WINDOW, rows=friends_of, waits=history_waits, **BY_DATE)

MARTS = (STG, DDS, FACTS, USERS, ZONES, FRIENDS)
LOAD = initial_load(
    INITIAL_LOAD,
    MARTS,
    "Loads every date that the landing folder has, and computes all marts. Run it once, by hand; then the sensors load new and "
    "changed files. Run again, it goes on where it stopped.",
)
