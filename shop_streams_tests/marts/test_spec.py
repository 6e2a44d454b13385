"""What a mart's run does with a partition that can't be computed."""

import json
from dataclasses import replace
from uuid import uuid4

import dagster as dg
import psycopg2
import pytest
from pyspark.sql import DataFrame

from shop_streams.defs.sales.marts import MART, partition_rows
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.lake import reader
from shop_streams.lake.asset import asset_key
from shop_streams.marts.failures import MartFailures, pause_after
from shop_streams.marts.repair import RANGE_END, RANGE_START
from shop_streams.marts.spec import FAILED_PARTITIONS_TAG, build_asset
from shop_streams.spark import SparkConnect
from shop_streams_tests.harness import Stack, wait_for

DAYS = {"2016-03-01": 1_456_790_400, "2016-03-02": 1_456_876_800, "2016-03-03": 1_456_963_200}
BROKEN = ["2016-03-01", "2016-03-02"]


def test_a_partition_that_fails_holds_up_no_other(stack: Stack) -> None:
    sale = {"event_type": "buy", "category": "c", "item_id": "i", "item_price": 5, "uid": "u"}
    stack.produce("shop_events", [json.dumps(sale | {"timestamp": second * 1000}).encode() for second in DAYS.values()])
    counts = wait_for("the sales to arrive", lambda: _counts(stack))
    assert counts == dict.fromkeys(DAYS, 1)

    def rows(events: DataFrame, key: str) -> DataFrame:
        if key == BROKEN[0]:
            raise psycopg2.DataError("no such year")  # a report's rows come from PostgreSQL
        return partition_rows(events, key).select("no_such_column" if key == BROKEN[1] else "*")

    table = replace(MART.table, path=f"sales/test_{uuid4().hex}")
    mart = replace(MART, table=table, rows=rows, totals=lambda _settings, _key: {})
    instance, spark = dg.DagsterInstance.ephemeral(), SparkConnect()
    result = dg.materialize(
        [build_asset(mart, ["team:test"])],
        resources={"spark": spark},
        instance=instance,
        tags={RANGE_START: min(DAYS), RANGE_END: max(DAYS)},
        raise_on_error=False,
    )
    spark.spark_session.stop()  # a session that is left open is everybody's in this process, and its server may be killed
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "no such year" in str(failure.step_failure_data.user_failure_data)
    good = set(DAYS) - set(BROKEN)
    assert set(mart.recorded(stack.settings)) == good
    assert instance.get_materialized_partitions(asset_key(table)) == good
    failures = MartFailures(stack.settings.postgres, mart.name)
    pauses = failures.pauses()
    assert pauses.keys() == set(BROKEN) and min(pauses.values()) > 0  # their backing off is their own
    run = instance.get_run_by_id(result.run_id)
    assert run is not None and FAILED_PARTITIONS_TAG in run.tags  # which the mart as a whole does not share
    for key in BROKEN:
        failures.forget(key)
    assert failures.pauses() == {}
    # The shop's own mart follows the same sales: not in the middle of somebody else's test.
    wait_for("the shop's own mart to follow", lambda: set(DAYS) <= set(MART.recorded(stack.settings)))


@pytest.mark.parametrize(
    ("failures", "age", "pause"), [(1, 0, 10), (1, 4, 6), (1, 11, 0), (2, 0, 20), (4, 10, 70), (50, 100, 200)]
)
def test_pauses_grow_and_end(failures: int, age: float, pause: float) -> None:
    assert pause_after(failures, age) == pause


def _counts(stack: Stack) -> dict[str, int] | None:
    counts = reader.row_counts(SHOP_EVENTS.uri(stack.settings), "event_date")
    found = {day: counts[day] for day in DAYS if day in counts}
    return found if len(found) == len(DAYS) else None
