"""What history says of users is the same with the monthly table, without it, and with one that is out of date."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.community import facts as module
from shop_streams.defs.community.facts import facts, history, merge, month_versions, summarised
from shop_streams.defs.community.schema import EVENTS, USER_FACTS
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.version import stamped, version_of
from shop_streams.settings import Settings
from shop_streams_tests.defs.community.events import Event, ddl, position_facts, random_events, rows_of

CITIES = [(1, 10.0, 10.0), (2, 10.0, 20.0)]
Fact = tuple[Any, ...]


def expected(events: Iterable[Event]) -> set[Fact]:
    """The facts of these events, without the zone of positions."""
    rows = list({one.number: one for one in events}.values())
    first: dict[tuple[str, int, int | None], datetime] = {}
    for one in sorted(rows, key=lambda one: one.at):
        keys: list[tuple[str, int, int | None]] = []
        if one.kind in ("registration", "message"):
            keys.append((one.kind, one.user, None))
        if one.kind in ("subscription", "message") and one.other is not None:
            keys.append(("subscription" if one.kind == "subscription" else "written_to", one.user, one.other))
        for key in keys:
            first.setdefault(key, one.at)
    return {(*key, at, None, None, None) for key, at in first.items()} | {fact[:-1] for fact in position_facts(rows)}


def shown(frame: DataFrame) -> set[Fact]:
    """The rows without the zone; a position has one, and other facts have none."""
    rows = frame.collect()
    assert frame.columns == [one.name for one in USER_FACTS.columns if one.name not in ("month", "source_rows")]
    assert all((row.zone_id in (1, 2)) == (row.kind == "position") for row in rows)
    found = [(*row[:3], row.event_time.astimezone(UTC), *row[4:7]) for row in rows]
    assert len(set(found)) == len(found)
    return set(found)


def dds_rows(events: list[Event], versions: dict[date, int] | None = None) -> list[tuple[Any, ...]]:
    rows = rows_of(events, CITIES, {one.day for one in events}).values()
    return [(*row.values(), (versions or {}).get(row["event_date"])) for row in rows]


def dds_frame(spark: SparkSession, events: list[Event]) -> DataFrame:
    return spark.createDataFrame(dds_rows(events), ddl(EVENTS))


def test_facts_of_events(spark: SparkSession) -> None:
    at = datetime(2026, 2, 1, 12, tzinfo=UTC)
    hour = timedelta(hours=1)
    events = [
        Event(1, at, 1, "message", (10.0, 10.0), message_id=5, other=2),
        Event(2, at, 1, "message", (10.0, 20.0), message_id=6, other=2),  # the last position: the larger message_id
        Event(3, at + hour, 1, "reaction", (10.0, 10.0)),  # a position is a message
        Event(4, at + hour, 1, "message", other=3),  # without coordinates of its own
        Event(5, at + hour, 2, "registration", (10.0, 10.0), other=9),
        Event(6, at - hour, 2, "registration"),
        Event(7, at + hour, 2, "subscription", other=7),
        Event(8, at, 2, "subscription", other=7),
        Event(9, at, 2, "subscription", other=8),
        Event(10, at, 2, "subscription"),  # to nothing
    ]
    assert shown(facts(dds_frame(spark, events))) == {
        ("position", 1, None, at, 6, 10.0, 20.0),
        ("message", 1, None, at, None, None, None),
        ("written_to", 1, 2, at, None, None, None),
        ("written_to", 1, 3, at + hour, None, None, None),
        ("registration", 2, None, at - hour, None, None, None),
        ("subscription", 2, 7, at, None, None, None),
        ("subscription", 2, 8, at, None, None, None),
    }
    zones = facts(dds_frame(spark, events), ["position"]).collect()
    assert [(row.kind, row.zone_id) for row in zones] == [("position", 2)]


def test_facts_can_be_merged_in_any_parts(spark: SparkSession) -> None:
    events = random_events(Random(1), 400, users=20, days=9)
    whole = shown(facts(dds_frame(spark, events)))
    assert whole == expected(events) and {fact[0] for fact in whole} == set(module.KINDS)
    days = [[one for one in events if one.day.toordinal() % 3 == part] for part in range(3)]
    first, second, third = (facts(dds_frame(spark, part)) for part in days)
    assert shown(merge(third.unionByName(merge(first.unionByName(second))))) == whole


def test_the_version_of_a_month_is_that_of_its_dates() -> None:
    versions = {"2026-01-30": 5, "2026-01-31": 7, "2026-02-01": version_of(3, 9)}
    found = month_versions(versions)
    assert found.keys() == {"2026-01-01", "2026-02-01"} and found == month_versions(dict(reversed(versions.items())))
    assert [version & (2**36 - 1) for version in found.values()] == [12, 3]
    changes = [
        {"2026-01-30": 7, "2026-01-31": 5},
        {"2026-01-30": 6},
        {"2026-01-29": 5},
        {"2026-01-31": version_of(7, 1)},
    ]
    others = [month_versions(versions | change)["2026-01-01"] for change in changes]
    others.append(month_versions({"2026-01-29": 5, "2026-01-31": 7})["2026-01-01"])
    assert len({found["2026-01-01"], *others}) == 6
    assert {month_versions(versions | change)["2026-02-01"] for change in changes} == {found["2026-02-01"]}


# The first date that is not read; the months that are taken from the table of facts.
@pytest.mark.parametrize(
    ("before", "months"),
    [
        (date(2026, 1, 31), []),
        (date(2026, 2, 1), ["2026-01-01"]),
        (date(2026, 2, 28), ["2026-01-01"]),
        (date(2026, 5, 1), ["2026-01-01", "2026-04-01"]),
    ],
)
def test_months_that_are_over_and_up_to_date_are_taken(
    before: date, months: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = {"2026-01-30": 1, "2026-02-01": 2, "2026-03-01": 3, "2026-04-30": 4}
    versions = month_versions(recorded)
    old = versions | {"2026-02-01": versions["2026-02-01"] + 1, "2025-12-01": 9}
    del old["2026-03-01"]
    assert summarised(recorded, old, before) == months
    monkeypatch.setattr(module, "CODE_VERSION", 2)
    assert summarised(recorded, old, before) == [], "facts of older code are not taken"
    assert summarised(recorded, {month: stamped(one, 2) for month, one in old.items()}, before) == months


def lake_without_delta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake whose tables reach Spark as Arrow: the session of the fast tests has no Delta."""
    lake = Lake(Settings(home=tmp_path))

    def read(table: Table, spark: SparkSession, _settings: Settings, version: int | None = None) -> DataFrame:
        names = [column.name for column in table.columns]
        rows = lake.scan(table, names, version=version)
        return spark.createDataFrame(rows).to(spark.createDataFrame([], ddl(table)).schema)

    monkeypatch.setattr(Table, "read", read)
    return lake


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return lake_without_delta(tmp_path, monkeypatch)


def write(lake: Lake, table: Table, frame: DataFrame) -> None:
    rows: pa.Table = frame.toArrow()
    write_deltalake(table.uri(lake.settings), rows, mode="overwrite", partition_by=list(table.partition_by))


def test_history_is_the_same_with_and_without_the_monthly_facts(spark: SparkSession, lake: Lake) -> None:
    events = [
        replace(one, at=one.at + timedelta(days=20 * (one.at.day % 4))) for one in random_events(Random(3), 200, 15, 9)
    ]
    before = date(2026, 3, 20)
    assert shown(history(spark, lake, before)) == set(), "no table"
    versions = {day: day.toordinal() for day in {one.day for one in events}}
    write(lake, EVENTS, spark.createDataFrame(dds_rows(events, versions), ddl(EVENTS)))
    known = expected(one for one in events if one.day < before)
    assert shown(history(spark, lake, before)) == known

    months = month_versions({day.isoformat(): version for day, version in versions.items()})
    assert len(months) >= 3 and min(months) < before.isoformat() < max(one.day for one in events).isoformat()
    parts = []
    for month, version in months.items():
        mine = dds_frame(spark, [one for one in events if one.day.isoformat()[:7] == month[:7]])
        parts.append(facts(mine).selectExpr("*", f"date'{month}' as month", f"{version} as source_rows"))
    whole = reduce(DataFrame.unionByName, parts)
    write(lake, USER_FACTS, whole)
    assert shown(history(spark, lake, before)) == known
    assert shown(history(spark, lake, before, ["position"])) == {fact for fact in known if fact[0] == "position"}
    write(
        lake,
        USER_FACTS,
        whole.selectExpr("* except (source_rows)", "source_rows + 1 as source_rows").where("kind <> 'message'"),
    )
    assert shown(history(spark, lake, before)) == known, "of other events, so none is taken"
    write(lake, USER_FACTS, whole.where("kind <> 'message'"))
    assert shown(history(spark, lake, before)) != known, "months that are up to date are taken from the table"
