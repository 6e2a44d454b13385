"""A mart of windows: a partition is due when a date that it reads has changed, and keeps the depth that it was computed with."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Column, Table
from shop_streams.marts import compare, compute, factory
from shop_streams.marts.compare import Comparison, recorded_depths
from shop_streams.marts.factory import build_mart
from shop_streams.marts.sources import LakeSource
from shop_streams.marts.spec import Computation, Mart
from shop_streams.marts.version import rows_of
from shop_streams.marts.window import Dates, WindowSource, first_read
from shop_streams.settings import Settings
from shop_streams.spark import SparkConnect

DAYS = dg.DailyPartitionsDefinition("2026-01-01")
VERSION = Column("source_rows", "bigint")
UPSTREAM = Table("tests/upstream", (Column("n", "int"), Column("day", "date"), VERSION), ("day",), "")
TABLE = Table(
    "tests/windows", (Column("n", "int"), Column("on", "date"), Column("depth_days", "int"), VERSION), ("on",), ""
)
DEFAULT = 3


def source(*dates: str) -> WindowSource:
    upstream = Mart(table=UPSTREAM, source=LakeSource(UPSTREAM), partitions=DAYS)
    return WindowSource(upstream=upstream, dates=lambda _lake: dates, depth=lambda _settings: DEFAULT)


def mart(*dates: str) -> Mart:
    return Mart(table=TABLE, source=source(*dates), partitions=DAYS)


def day(number: int) -> str:
    return f"2026-01-{number:02d}"


def write(lake: Lake, table: Table, key: str, **values: int) -> None:
    """One row replaces the partition."""
    names = {column.name: column.type for column in table.columns}
    kinds = {"int": pa.int32(), "bigint": pa.int64(), "date": pa.date32()}
    row = {name: pa.array([values.get(name, 1)], kinds[kind]) for name, kind in names.items() if kind != "date"}
    row[table.partition_by[0]] = pa.array([date.fromisoformat(key)])
    there = {"predicate": f"\"{table.partition_by[0]}\" = '{key}'"} if lake.version(table) is not None else {}
    write_deltalake(
        table.uri(lake.settings), pa.table(row), partition_by=list(table.partition_by), mode="overwrite", **there
    )  # type: ignore[call-overload]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """The upstream mart has 1, 2, 4 and 9 January."""
    made = Lake(Settings(lake_uri=str(tmp_path)))
    for number in (1, 2, 4, 9):
        write(made, UPSTREAM, day(number), source_rows=number)
    return made


def record(instance: dg.DagsterInstance, key: str, version: int, depth: str) -> None:
    """As a run reports a partition without rows."""
    metadata: dict[str, Any] = {"dagster/partition_row_count": 0, "source_version": str(version), "depth_days": depth}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(TABLE), partition=key, metadata=metadata))


def test_the_first_date_that_is_read() -> None:
    assert first_read(date(2026, 3, 1), 1) == date(2026, 3, 1)
    assert first_read(date(2026, 3, 1), 30) == date(2026, 1, 31)
    assert first_read(date(2026, 3, 1), 0) is None


@given(
    st.dictionaries(st.integers(1, 25).map(day), st.integers(1, 2**60), max_size=12),
    st.dictionaries(st.integers(1, 25).map(day), st.integers(1, 9), max_size=12),
    st.integers(1, 27),
    st.integers(0, 30),
)
def test_a_windows_version_is_that_of_its_dates_alone(
    versions: dict[str, int], rows: dict[str, int], end: int, depth: int
) -> None:
    """The sums over all dates, with gaps, give what the window's own dates give."""
    since = first_read(date(2026, 1, end), depth)
    inside = [day(n) for n in range(1, 32) if n <= end and (since is None or date(2026, 1, n) >= since)]
    alone = Dates({d: versions[d] for d in inside if d in versions}, {d: rows[d] for d in inside if d in rows})
    found = Dates(versions, rows).version(since, day(end))
    assert found == alone.version(None, day(end))
    assert rows_of(found) == sum(rows.get(d, 0) for d in inside)
    assert found > 0, "a calculation date that reads nothing is computed too: 0 is for one that does not exist"


def test_a_change_of_a_date_makes_exactly_the_windows_due_that_read_it(lake: Lake) -> None:
    keys = [day(number) for number in range(1, 12)]
    windows = source(*keys)
    before = windows.versions(lake, windows.snapshot(lake))

    def due() -> list[str]:
        after = windows.versions(lake, windows.snapshot(lake))
        return [key for key in keys if after[key] != before[key]]

    write(lake, UPSTREAM, day(4), source_rows=4)
    assert due() == [], "written again from the same rows"
    write(lake, UPSTREAM, day(4), source_rows=44)
    assert due() == [day(4), day(5), day(6)]
    DeltaTable(UPSTREAM.uri(lake.settings)).delete("day = '2026-01-04'")
    assert due() == [day(4), day(5), day(6)], "a date that became empty"
    deep = windows.versions(lake, windows.snapshot(lake), {day(9): 0, day(6): 2})
    usual = windows.versions(lake, windows.snapshot(lake))
    assert [key for key in keys if deep[key] != usual[key]] == [day(9)]


def test_a_date_that_is_gone_has_no_version(lake: Lake) -> None:
    assert mart(day(2)).versions(lake).keys() == {day(2)}
    gone = Comparison(mart(day(2)).versions(lake), {day(2): mart(day(2)).versions(lake)[day(2)], day(4): 7})
    assert gone.differing(lambda _key: True) == [day(4)]


def test_a_partition_keeps_the_depth_that_it_was_computed_with(lake: Lake) -> None:
    """By hand with 5, and with all dates; 1 has no rows, so its depth is in the event log alone."""
    keys = [day(9), day(10), day(11), day(12)]
    windows, instance = mart(*keys), dg.DagsterInstance.ephemeral()
    chosen = {day(9): 5, day(10): 0, day(11): 1}
    versions = windows.versions(lake, depths=chosen)
    for key in (day(9), day(10)):
        write(lake, TABLE, key, depth_days=chosen[key], source_rows=versions[key])
    record(instance, day(11), versions[day(11)], "1")
    write(lake, TABLE, day(12), depth_days=DEFAULT, source_rows=versions[day(12)])
    exists = compare.known(DAYS)

    def due() -> list[str]:
        return compare.compare(windows, lake, instance).differing(exists)

    assert due() == []
    assert recorded_depths(windows, lake, instance, {*keys, day(13)}) == chosen | {day(12): DEFAULT}
    write(lake, UPSTREAM, day(5), source_rows=55)
    assert due() == [day(9), day(10)], "inside of 5 dates, and of all; outside of 1 and of 3"
    deeper = replace(windows, source=replace(source(*keys), depth=lambda _settings: 9))
    assert compare.compare(deeper, lake, instance).differing(exists) == [day(9), day(10)], "another setting"
    assert compare.compare(deeper, lake, instance).depths == chosen | {day(12): DEFAULT}


def test_the_files_of_a_partition_have_a_fingerprint(lake: Lake) -> None:
    before = lake.fingerprints(UPSTREAM)
    assert before.keys() == {day(number) for number in (1, 2, 4, 9)}
    write(lake, UPSTREAM, day(4))
    after = lake.fingerprints(UPSTREAM)
    assert [key for key in after if after[key] != before[key]] == [day(4)]
    assert lake.fingerprints(UPSTREAM, 3) == before
    assert lake.fingerprints(TABLE) == {} == lake.largest(TABLE, "depth_days")
    assert lake.largest(UPSTREAM, "no_such_column") == {}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Computation]]:
    found: list[Computation] = []

    def computed(
        mart: Mart, _lake: Lake, _spark: object, computation: Computation, _versions: Any
    ) -> Iterator[dg.AssetMaterialization]:
        found.append(computation)
        yield from (dg.AssetMaterialization(asset_key(mart.table), partition=key) for key in computation.keys)

    monkeypatch.setattr(compute, "compute", computed)
    monkeypatch.setattr(factory, "claim", lambda *_: None)
    monkeypatch.setattr(compute, "MartFailures", lambda *_: SimpleNamespace(forget=lambda _key: None))
    monkeypatch.setattr(SparkConnect, "spark_session", None)
    yield found


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (None, [([1, 2], DEFAULT), ([3], 5), ([4, 5, 6], DEFAULT)]),
        (30, [([1, 2, 3], 30), ([4, 5, 6], 30)]),
        ("full", [([1, 2, 3], 0), ([4, 5, 6], 0)]),
    ],
)
def test_a_run_computes_with_the_depth_that_it_is_given(
    lake: Lake, asked: list[Computation], depth: int | str | None, expected: list[tuple[list[int], int]]
) -> None:
    write(lake, TABLE, day(3), depth_days=5)
    numbers = [number for group, _ in expected for number in group]
    windows = replace(mart(*map(day, numbers)), at_once=3)
    config: dict[str, Any] = {"also": [day(6), day(5)]} | ({"depth_days": depth} if depth is not None else {})
    tags = {"dagster/asset_partition_range_start": day(1), "dagster/asset_partition_range_end": day(4)}
    upstream = dg.AssetSpec(asset_key(UPSTREAM), partitions_def=DAYS)
    definitions = dg.Definitions.merge(
        dg.Definitions(assets=[upstream], resources={"lake": lake, "spark": SparkConnect()}),
        build_mart(windows, ["team:test"]),
    )
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(UPSTREAM), partition=day(1)))
        run_config = {"ops": {"tests__windows": {"config": config}}}
        job = definitions.resolve_job_def(windows.name)
        assert job.execute_in_process(instance=instance, tags=tags, run_config=run_config).success
    assert [(list(one.keys), one.depth) for one in asked] == [
        (list(map(day, group)), depth) for group, depth in expected
    ]


@pytest.mark.parametrize("depth", ["many", -1, 4000, 2.5])
def test_a_depth_that_is_none_is_refused(depth: Any) -> None:
    with pytest.raises(ValueError, match="must be a number of dates up to 3660, or `full`"):
        factory.AlsoDepth(depth_days=depth)


def test_the_lineage_shows_the_window_of_the_default_depth() -> None:
    windows = replace(source(), depth=lambda _settings: 30)
    definitions = build_mart(replace(mart(), source=windows), ["team:test"])
    resources = {"lake": Lake(Settings()), "spark": SparkConnect()}
    upstream = dg.Definitions(assets=[dg.AssetSpec(asset_key(UPSTREAM), partitions_def=DAYS)], resources=resources)
    loaded = dg.Definitions.merge(upstream, definitions)
    graph = loaded.resolve_asset_graph()
    mapping = graph.get_partition_mapping(asset_key(TABLE), asset_key(UPSTREAM))
    assert mapping == dg.TimeWindowPartitionMapping(start_offset=-29, allow_nonexistent_upstream_partitions=True)
    (dep,) = replace(windows, depth=lambda _settings: 0).deps
    assert dep.partition_mapping == dg.AllPartitionMapping()


def test_what_is_read_besides_the_dates_is_part_of_the_version_of_each_window() -> None:
    found = Dates({}, {})
    assert len({found.version(None, "2026-01-05", extra) for extra in (0, 1, 2)}) == 3, "also of a window without rows"
