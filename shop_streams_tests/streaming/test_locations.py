"""Another code location of the same Dagster has sensors and jobs of the same names: neither stack is disturbed by the other."""

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster._core.test_utils import create_run_for_test

from shop_streams.defs.sales.streams import INGEST
from shop_streams.streaming.keep_alive import _runs
from shop_streams.streaming.switch import LOCATION, SENSOR_TAG, KeepAliveSwitch, keep_alive_name, switched_off

NAME = keep_alive_name(INGEST.name)
JOB = f"{INGEST.name}_stream"


def repository(location: str) -> RemoteRepositoryOrigin:
    return RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")


def switch(instance: dg.DagsterInstance, location: str, status: InstigatorStatus) -> None:
    origin = RemoteInstigatorOrigin(repository(location), NAME)
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, status))


def run_of(location: str) -> dg.DagsterRun:
    return dg.DagsterRun(
        JOB, tags={SENSOR_TAG: NAME}, remote_job_origin=RemoteJobOrigin(repository(location), JOB),
    )  # fmt: skip


@pytest.mark.parametrize("location", [LOCATION, "staging"])
def test_only_the_switch_of_its_own_location_stops_a_stream(location: str) -> None:
    """By the name alone, each run rested at once and its sensor started the next."""
    other = ({LOCATION, "staging"} - {location}).pop()
    with dg.instance_for_test() as instance:
        switch(instance, other, InstigatorStatus.STOPPED)
        switch(instance, location, InstigatorStatus.RUNNING)
        assert not KeepAliveSwitch(instance, INGEST, run_of(location)).turned_off()
        assert KeepAliveSwitch(instance, INGEST, run_of(other)).turned_off()
        assert (switched_off(instance, location), switched_off(instance, other)) == (set(), {NAME})


def test_a_run_without_a_location_follows_the_stacks_switch() -> None:
    """As one that `dagster job execute` made."""
    with dg.instance_for_test() as instance:
        switch(instance, LOCATION, InstigatorStatus.STOPPED)
        assert KeepAliveSwitch(instance, INGEST, dg.DagsterRun(JOB, tags={SENSOR_TAG: NAME})).turned_off()


def test_the_sensor_counts_the_runs_of_its_own_location() -> None:
    """Otherwise it would wait for another location's run, and mark it as failed."""
    with dg.instance_for_test() as instance:
        theirs, ours = (
            create_run_for_test(
                instance, job_name=JOB, status=status, remote_job_origin=RemoteJobOrigin(repository(location), JOB)
            )
            for location, status in (("staging", dg.DagsterRunStatus.STARTED), (LOCATION, dg.DagsterRunStatus.STARTED))
        )
        unfinished, _ = _runs(instance, JOB, f"__repository__@{LOCATION}")
        assert [run.run_id for run in unfinished] == [ours.run_id]
        instance.report_run_failed(ours)
        unfinished, newest = _runs(instance, JOB, f"__repository__@{LOCATION}")
        assert unfinished == [] and newest is not None and newest.run_id == ours.run_id
        assert {run.run_id for run in _runs(instance, JOB, "__repository__@staging")[0]} == {theirs.run_id}
