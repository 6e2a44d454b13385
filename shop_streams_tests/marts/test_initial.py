"""The initial load computes all that differs of several marts in their order, and goes on where it stopped."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from shop_streams.defs.promotions.marts import MART as REPORT
from shop_streams.domain import Domain
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts import compute, initial, repair
from shop_streams.marts.initial import initial_load
from shop_streams.marts.spec import Computation, Mart, Source
from shop_streams.settings import Settings
from shop_streams.spark import SparkConnect

KEYS = ["2026-01-01", "2026-01-02", "2026-01-03"]


@dataclass
class Below:
    """A source whose versions are what the mart before has recorded."""

    world: "World"
    upstream: str | None
    deps: tuple[dg.AssetKey, ...] = ()

    def snapshot(self, _lake: Lake) -> int:
        return 3

    def versions(self, _lake: Lake, snapshot: int) -> dict[str, int]:
        assert snapshot == 3
        return self.world.recorded[self.upstream] if self.upstream else self.world.raw


@dataclass
class World:
    """Two marts, one over the other, and what is recorded of each."""

    raw: dict[str, int]
    recorded: dict[str, dict[str, int]] = field(default_factory=lambda: {"tests/first": {}, "tests/second": {}})
    computed: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    counted: list[str] = field(default_factory=list)

    def marts(self) -> tuple[Mart, Mart]:
        def mart(path: str, upstream: str | None) -> Mart:
            source = cast(Source, Below(self, upstream))
            return replace(REPORT, table=replace(REPORT.table, path=path), source=source, at_once=2)

        return mart("tests/first", None), mart("tests/second", "tests/first")

    def compute(
        self, mart: Mart, _lake: Lake, _spark: object, computation: Computation, versions: dict[str, int]
    ) -> Iterator[dg.AssetMaterialization]:
        self.computed.append((mart.table.path, computation.keys))
        if self.broken & set(computation.keys):
            raise ValueError("no such day")
        for key in computation.keys:
            self.recorded[mart.table.path][key] = versions[key]
            yield dg.AssetMaterialization(asset_key(mart.table), partition=key)

    def run(self, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
        resources = {"lake": Lake(Settings()), "spark": SparkConnect()}
        loaded = dg.Definitions(jobs=[initial_load("tests_initial_load", self.marts())], resources=resources)
        job = loaded.resolve_job_def("tests_initial_load")
        return job.execute_in_process(instance=instance, raise_on_error=False)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World({key: number for number, key in enumerate(KEYS, 1)})

    def recorded(_lake: Lake, table: Table) -> dict[str, int]:
        return dict(made.recorded[table.path])

    monkeypatch.setattr(compute, "compute", made.compute)
    monkeypatch.setattr(initial, "claim", lambda *_: None)
    monkeypatch.setattr(compute, "probe_spark", lambda *_: None)
    failures = SimpleNamespace(count=made.counted.append, forget=lambda _key: None)
    monkeypatch.setattr(compute, "MartFailures", lambda *_: failures)
    monkeypatch.setattr(Lake, "source_versions", recorded)
    monkeypatch.setattr(SparkConnect, "spark_session", None)
    monkeypatch.setattr(Table, "create", lambda *_: None)
    return made


def test_all_marts_are_computed_in_their_order_and_again_changes_nothing(world: World) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert world.run(instance).success
        groups = [(KEYS[0], KEYS[1]), (KEYS[2],)]
        assert world.computed == [(path, group) for path in ("tests/first", "tests/second") for group in groups]
        for mart in world.marts():
            assert instance.get_materialized_partitions(asset_key(mart.table)) == set(KEYS)
        world.computed.clear()
        assert world.run(instance).success
        assert world.computed == []
        world.raw[KEYS[1]] = 22
        assert world.run(instance).success
        assert world.computed == [("tests/first", (KEYS[1],)), ("tests/second", (KEYS[1],))]


def test_what_cannot_be_computed_holds_up_nothing_and_is_named_at_the_end(world: World) -> None:
    world.broken = {KEYS[0]}
    with dg.DagsterInstance.ephemeral() as instance:
        result = world.run(instance)
        assert not result.success
        assert world.recorded["tests/second"] == {KEYS[1]: 2, KEYS[2]: 3}
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        assert failure.step_key == "load_tests_second"
        assert "tests/first 2026-01-01: no such day" in str(failure.step_failure_data.error)
        assert world.counted == [KEYS[0]], "it backs off"
        world.broken.clear()
        assert world.run(instance).success
        assert world.recorded["tests/second"] == world.raw


def test_the_sensors_of_its_marts_request_nothing_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "streams_first_now", lambda *_: None)
    first, second = world.marts()
    job = initial_load("tests_initial_load", (first, second))
    definitions = dg.Definitions(jobs=[job], resources={"lake": Lake(Settings()), "spark": SparkConnect()})
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(definitions.resolve_job_def(job.name), tags=dict(job.tags))
        context = dg.build_sensor_context(instance=instance, resources={"lake": Lake(Settings())})

        def says(mart: Mart) -> Any:
            return repair.build_repair_sensor(mart)(context)

        for mart in (first, second):
            assert says(mart).skip_reason.skip_message == f"run {run.run_id[:8]} of this mart is NOT_STARTED"
        instance.report_run_failed(run)
        for _ in range(3):
            again = instance.create_run_for_job(definitions.resolve_job_def(job.name), tags=dict(job.tags))
            instance.report_run_failed(again)
        monkeypatch.setattr("shop_streams.marts.compare.MartFailures", lambda *_: SimpleNamespace(pauses=dict))
        assert says(first).run_requests, "loads that have failed are no failures of the mart"


def test_a_domain_without_streams_has_its_marts_alone(world: World) -> None:
    domain = Domain("tests", ("team:test",), streams=(), marts=world.marts())
    assert (domain.topics, domain.lake_streams) == ((), ())
    assert [table.path for table in domain.tables] == ["tests/first", "tests/second"]
    resources = dg.Definitions(resources={"lake": Lake(Settings()), "spark": SparkConnect()})
    loaded = dg.Definitions.merge(resources, domain.definitions())
    assert {job.name for job in loaded.jobs or ()} == {"tests_first", "tests_second"}
