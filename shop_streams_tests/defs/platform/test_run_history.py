"""The age limit of the run history: old runs go, and what Dagster knows of assets and partitions stays."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from shop_streams.defs.platform import run_history
from shop_streams.defs.platform.run_history import Forgotten, forget_runs

MART, PLAIN = dg.AssetKey("mart"), dg.AssetKey("plain")
DAYS = dg.StaticPartitionsDefinition(["a", "b", "c"])


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), output_required=False)
def mart(context: dg.AssetExecutionContext) -> Iterator[None]:
    """As a mart's asset, it logs each partition by itself."""
    for key in context.partition_keys:
        context.log_event(dg.AssetMaterialization(MART, partition=key, metadata={"source_version": context.run_id}))
    yield from ()


@dg.asset
def plain() -> None:
    """It has no partitions."""


@dg.op
def fails() -> None:
    raise ValueError("as it should")


@dg.job
def failing() -> None:
    fails()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found


def compute(instance: dg.DagsterInstance, first: str, last: str) -> str:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.materialize([mart], instance=instance, tags=tags).run_id


def runs(instance: dg.DagsterInstance) -> set[str]:
    return {record.dagster_run.run_id for record in instance.get_run_records()}


def versions(instance: dg.DagsterInstance) -> dict[str, str]:
    """Partition -> the run that computed it last, from its newest materialization."""
    found = {}
    for key in sorted(instance.get_materialized_partitions(MART)):
        (record,) = instance.fetch_materializations(dg.AssetRecordsFilter(MART, asset_partitions=[key]), 1).records
        assert record.asset_materialization is not None
        found[key] = str(record.asset_materialization.metadata["source_version"].value)
    return found


@pytest.mark.parametrize("at_once", [2, 500], ids="{} of one query".format)
def test_old_runs_are_deleted_and_every_partition_keeps_its_newest_materialization(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(run_history, "AT_ONCE", at_once)
    superseded = compute(instance, "a", "b")
    for_b = compute(instance, "a", "b")  # its a is computed again, its b is not
    for_a = compute(instance, "a", "a")
    dg.materialize([plain], instance=instance)
    newest_plain = dg.materialize([plain], instance=instance).run_id
    failed = failing.execute_in_process(instance=instance, raise_on_error=False).run_id
    unfinished = instance.create_run_for_job(dg.job(name="nothing")(lambda: None)).run_id
    known = versions(instance)

    nothing_is_old = forget_runs(instance, datetime.now(UTC) - timedelta(days=1))
    assert nothing_is_old == Forgotten(0, 0) and {superseded, failed} < runs(instance)

    time.sleep(1.1)  # SQLite keeps whole seconds
    before = datetime.now(UTC)
    time.sleep(1.1)
    recent = compute(instance, "c", "c")
    recent_again = compute(instance, "c", "c")
    known |= {"c": recent_again}
    assert forget_runs(instance, before) == Forgotten(3, 3)  # superseded, failed, and the first run of `plain`
    assert runs(instance) == {for_b, for_a, newest_plain, unfinished, recent, recent_again}
    assert versions(instance) == known == {"a": for_a, "b": for_b, "c": recent_again}
    newest = instance.get_latest_materialization_event(PLAIN)
    assert newest is not None and newest.run_id == newest_plain
    assert instance.all_logs(superseded) == [], "the events go with the run"
    assert forget_runs(instance, before) == Forgotten(0, 3)


def test_a_night_deletes_a_part_of_a_long_history_the_oldest_first(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_history, "A_NIGHT", 2)
    old = [dg.materialize([plain], instance=instance).run_id for _ in range(4)]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert forget_runs(instance, tomorrow).runs_deleted == 2 and runs(instance) == set(old[2:])
    assert forget_runs(instance, tomorrow).runs_deleted == 1 and runs(instance) == {old[3]}


def test_what_can_not_be_deleted_is_an_error(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        dg.materialize([plain], instance=instance)

    def broken(_run_id: str) -> None:
        raise OSError("no space")

    monkeypatch.setattr(instance, "delete_run", broken)
    with pytest.raises(OSError, match="no space"):
        forget_runs(instance, datetime.now(UTC) + timedelta(days=1))
