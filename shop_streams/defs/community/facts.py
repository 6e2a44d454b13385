"""What all history says of each user. A mart needs it beside the dates that it reads.

The table of monthly facts is a cache of this. A month that it lacks, or has of other events, is read from the events, so
the result is the same with and without it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from functools import reduce
from typing import TYPE_CHECKING

import mmh3
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from shop_streams.defs.community.schema import EVENTS, USER_FACTS
from shop_streams.defs.community.transforms import MESSAGE_ORDER
from shop_streams.marts.version import rows_of, stamped, version_of

if TYPE_CHECKING:
    from shop_streams.lake.reader import Lake

KINDS = ("position", "registration", "message", "subscription", "written_to")
CODE_VERSION = 1  # of the mart of `USER_FACTS`; raise it to compute every month again
_POSITION = (*MESSAGE_ORDER, "zone_id")
_COLUMNS = tuple(column for column in USER_FACTS.columns if column.name not in ("month", "source_rows"))


def is_position() -> Column:
    """Whether an event is a located message: one with coordinates of its own."""
    return (F.col("event_type") == "message") & (F.col("position_source") == "own")


def facts(events: DataFrame, kinds: Collection[str] = KINDS) -> DataFrame:
    """One row for each user, kind and other, with the columns of `USER_FACTS` without `month` and `source_rows`.

    `events`: rows of `EVENTS` of any dates. `kinds`: the wanted ones of `KINDS`.
    """
    kind = F.col("event_type")
    holds = {
        "position": is_position(),
        "registration": kind == "registration",
        "message": kind == "message",
        "subscription": (kind == "subscription") & F.col("channel").isNotNull(),
        "written_to": (kind == "message") & F.col("message_to").isNotNull(),
    }
    others = {"subscription": "channel", "written_to": "message_to"}
    found = [F.when(holds[one], _fact(one, others.get(one))) for one in KINDS if one in kinds]
    needed = events.where(reduce(Column.__or__, [holds[one] for one in kinds]))
    each = needed.select("user_id", F.explode(F.filter(F.array(*found), lambda one: one.isNotNull())).alias("fact"))
    return merge(each.select("user_id", "fact.*"))


def _fact(kind: str, other: str | None) -> Column:
    place = {
        column.name: column.type for column in _COLUMNS if column.name in _POSITION and column.name != "event_time"
    }
    return F.struct(
        F.lit(kind).alias("kind"),
        (F.col(other) if other else F.lit(None).cast("bigint")).alias("other"),
        "event_time",
        *[
            (F.col(name) if kind == "position" else F.lit(None).cast(type_)).alias(name)
            for name, type_ in place.items()
        ],
    )


def merge(facts: DataFrame) -> DataFrame:
    """One fact for each user, kind and other: the last position, or the first event. The order of merging does not matter."""
    found = facts.groupBy("kind", "user_id", "other").agg(
        F.min("event_time").alias("first"), F.max(F.struct(*_POSITION)).alias("last")
    )
    time = F.when(F.col("kind") == "position", F.col("last.event_time")).otherwise(F.col("first"))
    columns = {"event_time": time} | {name: F.col(f"last.{name}") for name in _POSITION if name != "event_time"}
    return found.select(*[columns.get(column.name, F.col(column.name)).alias(column.name) for column in _COLUMNS])


def month_of(day: str) -> str:
    """The month of a date, as a partition of `USER_FACTS`."""
    return f"{day[:7]}-01"


def month_versions(recorded: Mapping[str, int]) -> dict[str, int]:
    """Month -> version of its facts, from the versions that its dates of `EVENTS` were computed from."""
    rows: dict[str, int] = {}
    digests: dict[str, int] = {}
    for day, version in recorded.items():
        month = month_of(day)
        rows[month] = rows.get(month, 0) + rows_of(version)
        digests[month] = digests.get(month, 0) + mmh3.hash64(f"{day} {version}", signed=False)[0]
    return {month: version_of(rows[month], digest) for month, digest in digests.items()}


def summarised(recorded: Mapping[str, int], summaries: Mapping[str, int], before: date) -> list[str]:
    """The months that end before `before` and whose facts are those of the events now.

    `recorded`: date -> version, of `EVENTS`; `summaries`: month -> version, of `USER_FACTS`.
    """
    versions = {month: stamped(version, CODE_VERSION) for month, version in month_versions(recorded).items()}
    first_open = month_of(before.isoformat())
    return sorted(
        month for month, version in versions.items() if month < first_open and summaries.get(month) == version
    )


def history(spark: SparkSession, lake: Lake, before: date, kinds: Collection[str] = KINDS) -> DataFrame:
    """The facts of all dates before `before`, of the newest events."""
    snapshot = lake.version(EVENTS)
    if snapshot is None:
        return _none(spark)
    version = lake.version(USER_FACTS)
    summaries = lake.source_versions(USER_FACTS, version) if version is not None else {}
    months = summarised(lake.source_versions(EVENTS, snapshot), summaries, before)
    day = F.col("event_date")
    rest = day < F.lit(before)
    if months:  # partition columns: the files of these months are not opened
        rest &= ~F.trunc(day, "month").isin([date.fromisoformat(month) for month in months])
    found = facts(EVENTS.read(spark, lake.settings, snapshot).where(rest), kinds)
    if not months:
        return found
    known = USER_FACTS.read(spark, lake.settings, version)
    known = known.where(
        F.col("month").isin([date.fromisoformat(month) for month in months]) & F.col("kind").isin(*kinds)
    )
    return merge(found.unionByName(known.select(*found.columns)))


def positions(spark: SparkSession, lake: Lake, dates: Collection[date]) -> DataFrame:
    """The positions that events of these dates may take: the last one before them, and those of dates between them.

    `dates` are computed together; positions on these dates themselves are not in the result.
    """
    first, last = min(dates), max(dates)
    before = history(spark, lake, first, ["position"])
    between = {first + timedelta(days=number) for number in range((last - first).days)} - set(dates)
    snapshot = lake.version(EVENTS)
    if snapshot is None or not between:
        return before
    rows = EVENTS.read(spark, lake.settings, snapshot).where(is_position() & F.col("event_date").isin(*between))
    last_ones = rows.groupBy("user_id", "event_date").agg(F.max(F.struct(*_POSITION)).alias("last"))
    found = last_ones.select(
        F.lit("position").alias("kind"), "user_id", F.lit(None).cast("bigint").alias("other"), "last.*"
    )
    return before.unionByName(found)


def _none(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([], ", ".join(f"{column.name} {column.type}" for column in _COLUMNS))
