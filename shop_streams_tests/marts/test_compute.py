"""Several partitions in one Spark job and one commit; a failing one fails alone."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from deltalake import write_deltalake
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Column, Table
from shop_streams.marts import compute
from shop_streams.marts.compute import Work, computations, compute_all
from shop_streams.marts.repair import FAILED_PARTITIONS_TAG
from shop_streams.marts.serve import PostgresCopy
from shop_streams.marts.spec import Computation, Mart, Source
from shop_streams.marts.version import version_of
from shop_streams.settings import Settings
from shop_streams.spark import SparkConnect

DAYS = dg.DailyPartitionsDefinition("2026-01-01")
TABLE = Table(
    "tests/mart",
    (Column("n", "int"), Column("day", "date"), Column("source_rows", "bigint")),
    ("day",),
    "One row is a number.",
)
KEYS = [f"2026-01-0{day}" for day in range(1, 6)]
BIG = version_of(3, 99)


def rows_of(computation: Computation, spark: SparkSession) -> DataFrame:
    """As many rows as the day's number."""
    days = [(n, key) for key in computation.keys for n in range(int(key[-1]))]
    return spark.createDataFrame(days, "n int, day string").withColumn("day", F.col("day").cast("date"))


@dataclass
class World:
    """A lake on the disk that is written without Delta's extension of Spark, and what was asked and reported."""

    lake: Lake
    spark: SparkSession
    asked: list[tuple[str, ...]] = field(default_factory=list)
    reported: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def mart(self, **changes: Any) -> Mart:
        source = SimpleNamespace(deps=(), read=lambda *_: None)
        return Mart(
            table=TABLE, source=cast(Source, source), partitions=DAYS, rows=self.rows, **({"at_once": 3} | changes)
        )

    def rows(self, _source: DataFrame, computation: Computation) -> DataFrame:
        self.asked.append(computation.keys)
        if self.broken & set(computation.keys):
            raise ValueError(f"no {', '.join(self.broken)}")
        return rows_of(computation, self.spark)

    def compute(self, mart: Mart, versions: dict[str, int], keys: list[str] | None = None) -> dict[str, Exception]:
        def report(done: dg.AssetMaterialization) -> None:
            assert done.partition not in self.reported
            self.reported[str(done.partition)] = {
                name: [dict(one.data) for one in value.records]
                if isinstance(value, dg.TableMetadataValue)
                else value.value
                for name, value in done.metadata.items()
            }

        context = SimpleNamespace(
            log_event=report,
            log=SimpleNamespace(info=lambda *_: None, warning=lambda *_: None),
            instance=SimpleNamespace(add_run_tags=lambda _run, tags: self.tags.update(tags)),
            run=SimpleNamespace(run_id="run"),
        )
        work = Work(keys or list(versions), 7, versions)
        session = cast(SparkConnect, SimpleNamespace(spark_session=self.spark))
        return compute_all(cast(dg.OpExecutionContext, context), mart, self.lake, session, work)

    def commits(self) -> int:
        version = self.lake.version(TABLE)
        return 0 if version is None else version + 1


@pytest.fixture
def world(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(Lake(Settings(lake_uri=str(tmp_path))), spark)

    def overwrite(rows: DataFrame, table: Table, settings: Settings, condition: str) -> None:
        names = [column.name for column in table.columns]
        there = made.lake.version(table) is not None
        found, by = rows.select(*names).toArrow(), list(table.partition_by)
        predicate = {"predicate": condition} if there else {}
        write_deltalake(table.uri(settings), found, partition_by=by, mode="overwrite", **predicate)  # type: ignore[call-overload]

    monkeypatch.setattr(compute, "overwrite_partition", overwrite)
    monkeypatch.setattr(compute, "probe_spark", lambda *_: None)
    counted = SimpleNamespace(count=made.failures.append, forget=lambda _key: None)
    monkeypatch.setattr(compute, "MartFailures", lambda *_: counted)
    return made


@pytest.mark.parametrize(
    ("at_once", "keys", "expected"),
    [
        (1, [1, 2, 3], [[1], [2], [3]]),
        (2, [1, 2, 3], [[1, 2], [3]]),
        (3, [1, 2, 3], [[1, 2, 3]]),
        (2, [1, 3, 24, 2, 25, 1], [[1, 2], [3, 24], [25]]),  # a range and `also`, scattered and with a repeat
        (9, [1, 2, 34, 65], [[1, 2], [34, 65]]),  # a gap of 32 days, and one of 31
        (9, [1, 60, 61, 200], [[1], [60, 61], [200]]),
    ],
)
def test_groups_are_ascending_and_name_each_partition_once(
    at_once: int, keys: list[int], expected: list[list[int]]
) -> None:
    mart = Mart(table=TABLE, source=cast(Source, None), partitions=DAYS, at_once=at_once)
    first = date(2026, 1, 1)
    found = computations(mart, Work([str(first + timedelta(days=key)) for key in keys], 0, {}), Settings())
    numbers = [[(date.fromisoformat(key) - first).days for key in one.keys] for one in found]
    assert (numbers, {one.depth for one in found}) == (expected, {None})


def test_a_group_does_not_read_too_many_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "ROWS_AT_ONCE", 10)
    versions = {key: version_of(rows, 7) for key, rows in zip(KEYS, (11, 4, 6, 1, 9), strict=True)}
    found = computations(world.mart(at_once=5), Work(KEYS, 0, versions), Settings())
    assert [[key[-1] for key in one.keys] for one in found] == [["1"], ["2", "3"], ["4", "5"]]


def test_a_group_does_not_read_too_many_rows_where_versions_count_something_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the versions of a landing folder, which count files."""
    monkeypatch.setattr(compute, "ROWS_AT_ONCE", 10)
    sizes = dict(zip(KEYS, (11, 4, 6, 1, 9), strict=True))
    mart = world.mart(at_once=5, sizes=lambda _lake, keys: {key: sizes[key] for key in keys})
    assert world.compute(mart, dict.fromkeys(KEYS, 1)) == {}
    assert [[key[-1] for key in group] for group in world.asked] == [["1"], ["2", "3"], ["4", "5"]]


def test_a_group_is_one_commit_and_each_partition_has_its_own_version(world: World) -> None:
    assert world.compute(world.mart(), dict.fromkeys(KEYS, 1)) == {}
    assert world.asked == [tuple(KEYS[:3]), tuple(KEYS[3:])]
    assert world.commits() == 2
    assert world.lake.row_counts(TABLE) == {key: int(key[-1]) for key in KEYS}
    world.reported.clear()
    world.compute(world.mart(), {KEYS[1]: BIG, KEYS[0]: 5})
    assert world.lake.source_versions(TABLE) == dict.fromkeys(KEYS, 1) | {KEYS[0]: 5, KEYS[1]: BIG}
    assert [
        (key, found["source_version"], found["dagster/partition_row_count"]) for key, found in world.reported.items()
    ] == [
        (KEYS[0], "5", 1),
        (KEYS[1], str(BIG), 2),
    ]
    preview = world.reported[KEYS[1]]["preview"]
    assert [record["n"] for record in preview] == [0, 1]
    assert world.tags == {}


def test_a_partition_of_a_group_without_rows_is_reported_as_empty(world: World) -> None:
    world.compute(world.mart(), dict.fromkeys(KEYS[:3], 1))
    world.reported.clear()
    mart = world.mart()
    no_second = replace(
        mart, rows=lambda source, computation: mart.rows(source, computation).where(f"day <> '{KEYS[1]}'")
    )
    world.compute(no_second, dict.fromkeys(KEYS[:3], 2))
    assert world.lake.source_versions(TABLE) == {KEYS[0]: 2, KEYS[2]: 2}
    assert {key: found["dagster/partition_row_count"] for key, found in world.reported.items()} == {
        KEYS[0]: 1, KEYS[1]: 0, KEYS[2]: 3,
    }  # fmt: skip


def test_a_partition_that_the_source_does_not_have_gets_no_rows(world: World) -> None:
    """Whatever `rows` would give for it: a window over other dates is not empty."""
    world.compute(world.mart(), dict.fromkeys(KEYS[:3], 1))
    world.asked.clear()
    world.reported.clear()
    world.compute(world.mart(), {KEYS[0]: 2, KEYS[2]: 2}, KEYS[:3])
    assert world.asked == [(KEYS[0], KEYS[2])]
    assert world.lake.row_counts(TABLE).keys() == {KEYS[0], KEYS[2]}
    world.reported.clear()
    world.compute(world.mart(), {}, KEYS[:3])
    assert len(world.asked) == 1 and world.lake.row_counts(TABLE) == {}
    assert {found["source_version"] for found in world.reported.values()} == {"0"}


def test_a_failing_partition_of_a_group_fails_alone(world: World) -> None:
    world.broken = {KEYS[1]}
    failed = world.compute(world.mart(), dict.fromkeys(KEYS, 1))
    assert list(failed) == world.failures == [KEYS[1]]
    assert world.asked == [tuple(KEYS[:3]), *[(key,) for key in KEYS[:3]], tuple(KEYS[3:])]
    assert world.lake.source_versions(TABLE).keys() == world.reported.keys() == set(KEYS) - {KEYS[1]}
    assert FAILED_PARTITIONS_TAG in world.tags


def test_what_is_reported_already_is_not_computed_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[str] = []

    def replace_in_postgres(_copy: PostgresCopy, _dsn: str, key: str, _version: int, rows: list[Any]) -> None:
        assert len(rows) == int(key[-1])
        served.append(key)
        if key == KEYS[1]:
            raise ValueError("PostgreSQL refuses it")

    monkeypatch.setattr(PostgresCopy, "replace", replace_in_postgres)
    failed = world.compute(world.mart(serve=PostgresCopy("t", ())), dict.fromkeys(KEYS[:3], 1))
    assert list(failed) == [KEYS[1]]
    assert world.asked == [tuple(KEYS[:3]), (KEYS[1],), (KEYS[2],)]
    assert served == [KEYS[0], KEYS[1], KEYS[1], KEYS[2]]


def test_what_is_prepared_is_prepared_before_the_partitions_are_written(world: World) -> None:
    seen: list[tuple[tuple[str, ...], int]] = []

    def prepare(_spark: SparkSession, _lake: Lake, computation: Computation) -> None:
        seen.append((computation.keys, world.commits()))
        if len(seen) == 1:
            raise ValueError("it is repeated with each partition of the group")

    prepares: dict[str, Callable[..., None]] = {"prepare": prepare}
    assert world.compute(world.mart(**prepares), {KEYS[0]: 1}, KEYS[:2]) == {}
    assert seen == [(tuple(KEYS[:2]), 0), ((KEYS[0],), 0), ((KEYS[1],), 1)], "also for a partition that gets no rows"
    assert world.lake.scan(TABLE, ["n", "day"]).to_pylist() == [{"n": 0, "day": date(2026, 1, 1)}]
