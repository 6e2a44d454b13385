"""The positions before a date: what is read for each group of a long load, and that it says the same as all history."""

from dataclasses import replace
from datetime import date, timedelta
from functools import reduce
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.community import facts as module
from shop_streams.defs.community.facts import facts, history, month_of, month_versions
from shop_streams.defs.community.marts import DDS
from shop_streams.defs.community.positions import LastPositions
from shop_streams.defs.community.schema import EVENTS, USER_FACTS
from shop_streams.lake.reader import Lake
from shop_streams.marts.compute import Work, computations
from shop_streams_tests.defs.community.events import FIRST, Event, ddl, position_facts, random_events
from shop_streams_tests.defs.community.test_facts import dds_frame, dds_rows, lake_without_delta, shown, write

DAYS = [FIRST + timedelta(days=number) for number in range(100)]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return lake_without_delta(tmp_path, monkeypatch)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[date]]:
    """The dates of each read of the events."""
    found: list[list[date]] = []

    def spy(events: DataFrame, *more: Any) -> DataFrame:
        found.append(sorted(row.event_date for row in events.select("event_date").distinct().collect()))
        return facts(events, *more)

    monkeypatch.setattr(module, "facts", spy)
    return found


def events_of_each_day() -> list[Event]:
    """An event of every one of `DAYS` at least, most of few users, so that positions change."""
    made = random_events(Random(5), 300, users=20, days=1)
    return [replace(one, at=one.at + timedelta(days=one.number % len(DAYS))) for one in made]


def store(lake: Lake, spark: SparkSession, events: list[Event], version: int = 1) -> None:
    """Write the events as they were computed."""
    versions = dict.fromkeys(DAYS, version)
    write(lake, EVENTS, spark.createDataFrame(dds_rows(events, versions), ddl(EVENTS)))


def store_facts(lake: Lake, spark: SparkSession, events: list[Event]) -> None:
    """Write the months' facts of the events, as they are now."""
    parts = []
    for month, version in month_versions(lake.source_versions(EVENTS)).items():
        mine = dds_frame(spark, [one for one in events if month_of(one.day.isoformat()) == month])
        parts.append(facts(mine).selectExpr("*", f"date'{month}' as month", f"{version} as source_rows"))
    write(lake, USER_FACTS, reduce(DataFrame.unionByName, parts))


def test_a_long_load_reads_each_date_once(spark: SparkSession, lake: Lake, read: list[list[date]]) -> None:
    """The months' facts are computed after all events. Each group reads the dates since the group before it."""
    events, last = events_of_each_day(), LastPositions()
    work = Work([str(day) for day in DAYS], 0, {})
    loaded = [[date.fromisoformat(key) for key in one.keys] for one in computations(DDS, work, lake.settings)]
    assert len(loaded) == 4
    for number, group in enumerate(loaded):
        known = [one for one in events if one.day < group[0]]
        if known:
            store(lake, spark, known)
        read.clear()
        found = shown(last.of(spark, lake, group))
        assert found == {fact[:-1] for fact in position_facts(known)}
        assert read == ([loaded[number - 1]] if number else []), "and nothing older"


def test_events_that_have_changed_are_read_again(spark: SparkSession, lake: Lake, read: list[list[date]]) -> None:
    events, last = events_of_each_day(), LastPositions()
    store(lake, spark, events)
    last.of(spark, lake, [DAYS[40]])
    fewer = [one for one in events if one.day != DAYS[3] and one.user > 4]
    store(lake, spark, fewer, version=2)
    read.clear()
    assert shown(last.of(spark, lake, [DAYS[50]])) == {
        fact[:-1] for fact in position_facts(one for one in fewer if one.day < DAYS[50])
    }
    assert [len(dates) for dates in read] == [len({one.day for one in fewer if one.day < DAYS[50]})]
    read.clear()
    last.of(spark, lake, [DAYS[45]])
    assert [dates[0] for dates in read] == [min(one.day for one in fewer)], "what is known is of later dates too"


def test_with_the_months_facts_nothing_is_kept(spark: SparkSession, lake: Lake, read: list[list[date]]) -> None:
    events, last = events_of_each_day(), LastPositions()
    store(lake, spark, events)
    store_facts(lake, spark, events)
    day = DAYS[62]
    read.clear()
    found = shown(last.of(spark, lake, [day]))
    assert found == shown(history(spark, lake, day, ["position"]))
    assert found == {fact[:-1] for fact in position_facts(one for one in events if one.day < day)}
    assert read[0] == [one for one in DAYS if one < day and month_of(str(one)) == month_of(str(day))]
    assert last.kept == {}


def test_rows_that_spark_has_lost_fail_once(spark: SparkSession, lake: Lake) -> None:
    events, last = events_of_each_day(), LastPositions()
    store(lake, spark, events)
    last.of(spark, lake, [DAYS[40]])
    (known,) = last.kept.values()
    lost = known.rows.selectExpr("* except (user_id)", "cast(raise_error('lost') as bigint) as user_id")
    last.kept[EVENTS.uri(lake.settings)] = replace(known, rows=lost)
    with pytest.raises(Exception, match="lost"):
        last.of(spark, lake, [DAYS[50]]).collect()
    assert shown(last.of(spark, lake, [DAYS[50]])) == {
        fact[:-1] for fact in position_facts(one for one in events if one.day < DAYS[50])
    }


def test_positions_of_dates_with_a_gap(spark: SparkSession, lake: Lake) -> None:
    events = random_events(Random(4), 150, users=10, days=7)
    days = [FIRST + timedelta(days=number) for number in range(7)]
    write(lake, EVENTS, spark.createDataFrame(dds_rows(events, dict.fromkeys(days, 1)), ddl(EVENTS)))
    dates = {days[1], days[2], days[5]}
    wanted = [[days[0]], [days[3]], [days[4]]]
    expected_facts = {fact[:-1] for part in wanted for fact in position_facts(one for one in events if one.day in part)}
    assert shown(LastPositions().of(spark, lake, dates)) == expected_facts
