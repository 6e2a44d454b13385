"""Of a stream's many reports, the newest ones outlive the age limit of the history."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from shop_streams.defs.platform import run_history
from shop_streams.defs.platform.run_history import forget_reports
from shop_streams.settings import Settings

pytestmark = pytest.mark.servers
STREAM, TABLE = dg.AssetKey("stream"), dg.AssetKey("table")
DAYS = dg.StaticPartitionsDefinition(["1", "2"])
CHECK = dg.AssetCheckKey(STREAM, "alive")


@dg.op(out=dg.Out(dg.Nothing))
def report(context: dg.OpExecutionContext) -> None:
    """Three reports: the stream each time, the table's day 1 twice and then day 2."""
    for number, day in enumerate(["1", "1", "2"]):
        context.log_event(dg.AssetMaterialization(STREAM, metadata={"number": number}))
        context.log_event(dg.AssetMaterialization(TABLE, partition=day, metadata={"number": number}))
        evaluation = dg.AssetCheckEvaluation(STREAM, "alive", passed=True, metadata={"number": number})
        context.log_event(evaluation)  # type: ignore[arg-type]  # Dagster's annotation lacks this event


@dg.job
def stream() -> None:
    report()


@pytest.fixture
def instance(database: Settings) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test({"storage": {"postgres": {"postgres_url": database.postgres}}}) as found:
        found.wipe()  # the tests share a database
        yield found


def numbers(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[object]:
    """The numbers of an asset's materializations, newest first."""
    records = instance.fetch_materializations(key, limit=100).records
    return [one.asset_materialization.metadata["number"].value for one in records if one.asset_materialization]


def results(instance: dg.DagsterInstance) -> int:
    """The number of the check's results in its history."""
    return len(instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=100))


def test_an_instance_elsewhere_deletes_nothing() -> None:
    """As in a shell without DAGSTER_HOME: what is newest is asked of the storage from which is deleted."""
    with dg.instance_for_test() as elsewhere:
        stream.execute_in_process(instance=elsewhere)
        assert forget_reports(elsewhere, datetime.now(UTC) + timedelta(days=1)) == 0
        assert numbers(elsewhere, STREAM) == [2, 1, 0]


@pytest.mark.parametrize("at_once", [2, 20_000], ids="{} of one statement".format)
def test_only_superseded_reports_from_before_the_limit_are_deleted(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(run_history, "REPORTS_AT_ONCE", at_once)
    run = stream.execute_in_process(instance=instance).run_id
    before = datetime.now(UTC)
    later = stream.execute_in_process(instance=instance).run_id
    assert forget_reports(instance, before - timedelta(hours=1)) == 0
    assert results(instance) == 2
    steps = [one.dagster_event_type for one in instance.all_logs(run) if one.dagster_event_type]

    # Of the first run: three reports of the stream, three of the table and three results are superseded by the second run.
    assert forget_reports(instance, before) == 9
    assert numbers(instance, STREAM) == numbers(instance, TABLE) == [2, 1, 0]
    left = [one.dagster_event_type for one in instance.all_logs(run) if one.dagster_event_type]
    reports = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    assert left == [one for one in steps if one not in reports], "the run itself is still told"

    # Of the second run, the newest of the stream and of each of the table's days stay, and the check's newest result.
    assert forget_reports(instance, datetime.now(UTC)) == 9 - 4
    assert numbers(instance, STREAM) == [2] and numbers(instance, TABLE) == [2, 1]
    assert instance.get_materialized_partitions(TABLE) == {"1", "2"}
    newest = instance.get_latest_asset_check_evaluation_record(CHECK)
    assert newest is not None and newest.run_id == later and newest.event is not None
    assert results(instance) == 1, "Dagster has one result of a check for each run"
    (evaluated,) = instance.all_logs(later, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    assert evaluated.asset_check_evaluation.metadata["number"].value == 2  # type: ignore[union-attr]


def test_a_long_history_is_deleted_in_several_nights(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_history, "REPORTS_AT_ONCE", 2)
    monkeypatch.setattr(run_history, "REPORTS_A_NIGHT", 3)
    stream.execute_in_process(instance=instance)
    before = datetime.now(UTC)
    stream.execute_in_process(instance=instance)
    assert [forget_reports(instance, before) for _ in range(4)] == [4, 4, 1, 0]
