"""A mart's partitions are computed in one way, whoever asks; one that can't be computed holds up no other."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import dagster as dg
import psycopg2
import pytest
from dagster_graphql import DagsterGraphQLClient
from pyspark.sql import DataFrame

from shop_streams.defs.sales.marts import MART, partition_rows
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.lake import reader
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts import compute, factory, repair
from shop_streams.marts.factory import build_asset, build_mart
from shop_streams.marts.failures import MartFailures, pause_after
from shop_streams.marts.repair import FAILED_PARTITIONS_TAG, RANGE_END, RANGE_START, request
from shop_streams.marts.sources import LakeSource
from shop_streams.marts.spec import Computation, Mart
from shop_streams.settings import Settings
from shop_streams.spark import SparkConnect
from shop_streams.streaming.switch import SENSOR_TAG
from shop_streams_tests.harness import Stack, wait_for

DAYS = {"2016-03-01": 1_456_790_400, "2016-03-02": 1_456_876_800, "2016-03-03": 1_456_963_200}
BROKEN = ["2016-03-01", "2016-03-02"]


def test_a_partition_that_fails_holds_up_no_other(stack: Stack) -> None:
    sale = {"event_type": "buy", "category": "c", "item_id": "i", "item_price": 5, "uid": "u"}
    stack.produce("shop_events", [json.dumps(sale | {"timestamp": second * 1000}).encode() for second in DAYS.values()])
    counts = wait_for("the sales to arrive", lambda: _counts(stack))
    assert counts == dict.fromkeys(DAYS, 1)

    def rows(events: DataFrame, computation: Computation) -> DataFrame:
        if computation.key == BROKEN[0]:
            raise psycopg2.DataError("no such year")  # a report's rows come from PostgreSQL
        return partition_rows(events, computation).select("no_such_column" if computation.key == BROKEN[1] else "*")

    table = replace(MART.table, path=f"sales/test_{uuid4().hex}")
    mart = replace(MART, table=table, rows=rows, totals=lambda _lake, _key: {})
    instance, spark, lake = dg.DagsterInstance.ephemeral(), SparkConnect(), Lake(stack.settings)
    result = dg.materialize(
        [build_asset(mart, ["team:test"])],
        resources={"spark": spark, "lake": lake},
        instance=instance,
        tags={RANGE_START: min(DAYS), RANGE_END: max(DAYS)},
        raise_on_error=False,
    )
    spark.spark_session.stop()  # a session that is left open is everybody's in this process, and its server may be killed
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "no such year" in str(failure.step_failure_data.user_failure_data)
    good = set(DAYS) - set(BROKEN)
    assert set(mart.recorded(lake)) == good
    assert instance.get_materialized_partitions(asset_key(table)) == good
    failures = MartFailures(stack.settings.postgres, mart.name)
    assert failures.pauses().keys() == set(BROKEN)  # their backing off is their own
    run = instance.get_run_by_id(result.run_id)
    assert run is not None and FAILED_PARTITIONS_TAG in run.tags  # which the mart as a whole does not share
    for key in BROKEN:
        failures.forget(key)
    assert failures.pauses() == {}
    # The shop's own mart follows the same sales: not in the middle of somebody else's test.
    wait_for("the shop's own mart to follow", lambda: set(DAYS) <= set(MART.recorded(lake)))


LAUNCH_BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL = (
    """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"""
)
MATERIALIZATIONS = """query($key: AssetKeyInput!, $partitions: [String!]) { assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(partitions: $partitions) { partition runId } } } }"""
FAILED_PARTITIONS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    partitionStats { numFailed numMaterializing } } } }"""


def test_a_backfill_and_a_single_run_of_the_ui_record_exactly_their_partitions(stack: Stack) -> None:
    key = {"path": ["sales", "hourly_metrics"]}
    days = [f"2016-05-{day:02d}" for day in range(1, 8)]
    scattered, alone = [days[0], days[1], days[4]], days[6]

    def recorded() -> set[tuple[str, str]]:
        found = stack.graphql(MATERIALIZATIONS, key=key, partitions=days)["assetOrError"]["assetMaterializations"]
        return {(one["partition"], one["runId"]) for one in found}

    def stats() -> dict[str, int]:
        found: dict[str, int] = stack.graphql(FAILED_PARTITIONS, key=key)["assetNodeOrError"]["partitionStats"]
        return found

    assert recorded() == set()
    before = stats()["numFailed"]
    launched = stack.graphql(
        LAUNCH_BACKFILL, params={"assetSelection": [key], "partitionNames": scattered, "tags": []}
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def status() -> str:
        found = stack.graphql(BACKFILL, id=launched["backfillId"])["partitionBackfillOrError"]
        return str(found["status"])

    wait_for("the backfill to end", lambda: (now := status()) not in ("REQUESTED", "COMPLETING") and now)
    assert status() == "COMPLETED_SUCCESS"
    by_backfill = recorded()
    assert sorted(day for day, _ in by_backfill) == scattered
    assert len({run for _, run in by_backfill}) == 2, "a run for each unbroken range"
    client = DagsterGraphQLClient("127.0.0.1", port_number=stack.settings.dagster_port)
    run = client.submit_job_execution(
        "__ASSET_JOB", tags={"dagster/partition": alone}, asset_selection=[asset_key(MART.table)]
    )
    wait_for("the single run", lambda: client.get_run_status(run) is dg.DagsterRunStatus.SUCCESS)
    assert recorded() - by_backfill == {(alone, run)}
    assert (stats()["numFailed"], stats()["numMaterializing"]) == (before, 0)


def test_a_run_for_scattered_partitions_records_each_and_shows_no_other_as_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the sensor asks for it, with a source that Dagster knows the partitions of."""
    due, broken = ["2016-03-01", "2016-03-02", "2016-03-09", "2016-06-01"], "2016-03-09"

    def computed(
        mart: Mart, _lake: Lake, _spark: object, computation: Computation, versions: dict[str, int]
    ) -> Iterator[dg.AssetMaterialization]:
        if computation.key == broken:
            raise ValueError("no such day")
        version = versions[computation.key]
        yield dg.AssetMaterialization(asset_key(mart.table), partition=computation.key, metadata={"version": version})

    counted: list[str] = []
    failures = SimpleNamespace(count=counted.append, forget=lambda _key: None)
    monkeypatch.setattr(compute, "compute", computed)
    monkeypatch.setattr(factory, "claim", lambda *_: None)
    monkeypatch.setattr(compute, "probe_spark", lambda *_: None)
    monkeypatch.setattr(compute, "MartFailures", lambda *_: failures)
    monkeypatch.setattr(SparkConnect, "spark_session", None)
    monkeypatch.setattr(Lake, "version", lambda *_: 0)
    monkeypatch.setattr(LakeSource, "versions", lambda *_: dict.fromkeys(due, 7))
    source = dg.AssetSpec(asset_key(SHOP_EVENTS), partitions_def=MART.partitions)
    lake = Lake(Settings(lake_uri=str(tmp_path)))
    definitions = dg.Definitions.merge(
        dg.Definitions(assets=[source], resources={"lake": lake, "spark": SparkConnect()}),
        build_mart(MART, ["team:test"]),
    )
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(SHOP_EVENTS), partition=due[0]))
        asked = request(MART, due)
        result = definitions.resolve_job_def(MART.name).execute_in_process(
            instance=instance, tags=asked.tags, run_config=asked.run_config, raise_on_error=False
        )
        assert not result.success and counted == [broken]
        assert instance.get_materialized_partitions(asset_key(MART.table)) == set(due) - {broken}
        planned = instance.get_records_for_run(
            result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        ).records
        assert sorted(str(one.partition_key) for one in planned) == due[:2], (
            "what Dagster shows as failed if it is missing"
        )


BACKFILLED, EMPTY, CHANGED = "2016-03-01", "2016-03-02", "2016-03-09"


@pytest.mark.parametrize(
    ("tags", "recomputed"),
    [
        ({SENSOR_TAG: f"repair_{MART.name}"}, [CHANGED]),
        ({}, [BACKFILLED, EMPTY, CHANGED]),
        ({SENSOR_TAG: "repair_another_mart"}, [BACKFILLED, EMPTY, CHANGED]),
        ({SENSOR_TAG: f"repair_{MART.name}", "dagster/parent_run_id": str(uuid4())}, [BACKFILLED, EMPTY, CHANGED]),
    ],
    ids=["of the sensor", "of a person", "of another mart", "a sensor's run again"],
)
def test_the_sensors_run_leaves_out_what_was_computed_while_it_waited(
    tags: dict[str, str], recomputed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys, computed = [BACKFILLED, EMPTY, CHANGED], list[str]()

    def compute_one(
        mart: Mart, _lake: Lake, _spark: object, computation: Computation, _versions: dict[str, int]
    ) -> Iterator[dg.AssetMaterialization]:
        computed.append(computation.key)
        yield dg.AssetMaterialization(asset_key(mart.table), partition=computation.key)

    monkeypatch.setattr(compute, "compute", compute_one)
    monkeypatch.setattr(factory, "claim", lambda *_: None)
    monkeypatch.setattr(compute, "MartFailures", lambda *_: SimpleNamespace(forget=lambda _key: None))
    monkeypatch.setattr(SparkConnect, "spark_session", None)
    monkeypatch.setattr(Lake, "version", lambda *_: 0)
    monkeypatch.setattr(LakeSource, "versions", lambda *_: dict.fromkeys(keys, 7))
    monkeypatch.setattr(Lake, "source_versions", lambda *_: {BACKFILLED: 7, CHANGED: 6})
    definitions = dg.Definitions.merge(
        dg.Definitions(resources={"lake": Lake(Settings(lake_uri=str(tmp_path))), "spark": SparkConnect()}),
        build_mart(replace(MART, serve=None), ["team:test"]),
    )
    with dg.DagsterInstance.ephemeral() as instance:
        empty: dict[str, Any] = {"dagster/partition_row_count": 0, "source_version": "7"}
        key = asset_key(MART.table)
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=EMPTY, metadata=empty))
        asked = request(MART, keys)
        result = definitions.resolve_job_def(MART.name).execute_in_process(
            instance=instance, tags={**asked.tags, **tags}, run_config=asked.run_config
        )
        assert result.success and computed == recomputed
        observed = instance.fetch_observations(key, limit=10).records
        assert {
            str(one.partition_key): one.asset_observation.metadata["up_to_date_already"].value
            for one in observed
            if one.asset_observation
        } == dict.fromkeys(set(keys) - set(recomputed), "7")


def test_the_sensors_runs_are_known_by_the_name_of_the_sensor() -> None:
    """Dagster writes it into the tags of its runs."""
    assert repair.build_repair_sensor(MART).name == f"repair_{MART.name}"
    assert dg.DagsterRun.tags_for_sensor(repair.build_repair_sensor(MART)) == {SENSOR_TAG: f"repair_{MART.name}"}


@pytest.mark.parametrize(
    ("failures", "age", "pause"),
    [
        (1, 0, 10),
        (1, 4, 6),
        (1, 11, 0),
        (2, 0, 20),
        (4, 10, 70),
        (50, 100, 200),
        (1, -36_000, 0),
    ],  # the last: a clock set back
)
def test_pauses_grow_and_end(failures: int, age: float, pause: float) -> None:
    assert pause_after(failures, age) == pause


def _counts(stack: Stack) -> dict[str, int] | None:
    counts = reader.row_counts(SHOP_EVENTS.uri(stack.settings), "event_date")
    found = {day: counts[day] for day in DAYS if day in counts}
    return found if len(found) == len(DAYS) else None
