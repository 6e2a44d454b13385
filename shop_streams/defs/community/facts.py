"""What all history says of each user. A mart needs it beside the dates that it reads.

The table of monthly facts is a cache of this. A month that it lacks, or has of other events, is read from the events, so
the result is the same with and without it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
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
POSITION = (*MESSAGE_ORDER, "zone_id")
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
    place = {column.name: column.type for column in _COLUMNS if column.name in POSITION and column.name != "event_time"}
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
        F.min("event_time").alias("first"), F.max(F.struct(*POSITION)).alias("last")
    )
    time = F.when(F.col("kind") == "position", F.col("last.event_time")).otherwise(F.col("first"))
    columns = {"event_time": time} | {name: F.col(f"last.{name}") for name in POSITION if name != "event_time"}
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


@dataclass(frozen=True)
class Known:
    """The facts of all dates before `before`.

    Attributes:
        rows: with the columns of `USER_FACTS` without `month` and `source_rows`.
        versions: date -> version, of the events of these dates.
        read: the dates of which the events were read; the others are known from the months' facts, or from before.
    """

    before: date
    rows: DataFrame
    versions: Mapping[str, int] = field(default_factory=dict)
    read: tuple[str, ...] = ()


def history(spark: SparkSession, lake: Lake, before: date, kinds: Collection[str] = KINDS) -> DataFrame:
    """The facts of all dates before `before`, of the newest events."""
    return known_history(spark, lake, before, kinds).rows


def known_history(
    spark: SparkSession, lake: Lake, before: date, kinds: Collection[str], earlier: Known | None = None
) -> Known:
    """The facts of all dates before `before`, of the newest events.

    `earlier`: facts of these kinds up to an earlier date, to go on from. It is not used if its events have changed.
    """
    snapshot = lake.version(EVENTS)
    if snapshot is None:
        return Known(before, _none(spark))
    recorded = lake.source_versions(EVENTS, snapshot)
    versions = {day: version for day, version in recorded.items() if day < before.isoformat()}
    if earlier is not None and not goes_on(versions, earlier):
        earlier = None
    since = earlier.before if earlier else date.min
    version = lake.version(USER_FACTS)
    summaries = lake.source_versions(USER_FACTS, version) if version is not None else {}
    # The month of `since` may be known twice. Merged, it is there once.
    months = [month for month in summarised(recorded, summaries, before) if month >= month_of(since.isoformat())]
    read = tuple(sorted(day for day in versions if day >= since.isoformat() and month_of(day) not in months))
    day = F.col("event_date")
    rest = day < F.lit(before)
    if earlier:
        rest &= day >= F.lit(since)
    if months:  # partition columns: the files of these months are not opened
        rest &= ~F.trunc(day, "month").isin([date.fromisoformat(month) for month in months])
    found = facts(EVENTS.read(spark, lake.settings, snapshot).where(rest), kinds)
    more = [earlier.rows] if earlier else []
    if months:
        taken = USER_FACTS.read(spark, lake.settings, version)
        mine = F.col("month").isin([date.fromisoformat(month) for month in months]) & F.col("kind").isin(*kinds)
        more.append(taken.where(mine).select(*found.columns))
    rows = merge(reduce(DataFrame.unionByName, more, found)) if more else found
    return Known(before, rows, versions, read)


def goes_on(versions: Mapping[str, int], earlier: Known) -> bool:
    """Whether facts are still right: the events before their date have the versions that they were read from.

    `versions`: date -> version, of all events before a date.
    """
    first = earlier.before.isoformat()
    return earlier.versions == {day: version for day, version in versions.items() if day < first}


def _none(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([], ", ".join(f"{column.name} {column.type}" for column in _COLUMNS))
