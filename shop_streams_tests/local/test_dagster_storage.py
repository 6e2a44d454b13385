"""Switches of sensors and schedules in the storage that the stack uses, on a real PostgreSQL."""

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

from shop_streams.settings import Settings
from shop_streams_tests.local.test_database import machine, server

pytestmark = pytest.mark.servers


def sensor(start: float | None, status: InstigatorStatus, cursor: str) -> InstigatorState:
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("shop_streams"), "__repository__"), "keep_x_alive"
    )
    return InstigatorState(
        origin,
        InstigatorType.SENSOR,
        status,
        SensorInstigatorData(cursor=cursor, last_sensor_start_timestamp=start, sensor_type=SensorType.STANDARD),
    )


def storing_schedules_in(settings: Settings) -> dg.DagsterInstance:
    storage = {
        "module": "shop_streams.local.dagster_storage",
        "class": "KeptScheduleStorage",
        "config": {"postgres_url": settings.postgres},
    }
    return dg.DagsterInstance.local_temp(overrides={"schedule_storage": storage})


def test_a_tick_undoes_no_switch() -> None:
    """Dagster's daemon writes the state that it has read at the tick's start, with the tick's cursor."""
    running, stopped = InstigatorStatus.RUNNING, InstigatorStatus.STOPPED
    with machine("UTC") as settings, server(settings), storing_schedules_in(settings) as instance:
        instance.add_instigator_state(sensor(1.0, InstigatorStatus.DECLARED_IN_CODE, "0"))

        def write(state: InstigatorState) -> tuple[InstigatorStatus, str | None]:
            instance.update_instigator_state(state)
            (found,) = instance.all_instigator_state()
            assert isinstance(found.instigator_data, SensorInstigatorData)
            return found.status, found.instigator_data.cursor

        assert write(sensor(1.0, InstigatorStatus.DECLARED_IN_CODE, "1"))[1] == "1", "a tick"
        assert write(sensor(1.0, stopped, "1")) == (stopped, "1"), "a person stops it"
        assert write(sensor(1.0, InstigatorStatus.DECLARED_IN_CODE, "2")) == (stopped, "2"), "the tick ends"
        assert write(sensor(2.0, running, "2")) == (running, "2"), "a person starts it"
        assert write(sensor(1.0, stopped, "3"))[0] == running, "a tick that began before ends"
        assert write(sensor(2.0, running, "4")) == (running, "4"), "the next tick"
        assert write(sensor(2.0, stopped, "4")) == (stopped, "4")
        assert write(sensor(2.0, InstigatorStatus.DECLARED_IN_CODE, "4"))[0] == InstigatorStatus.DECLARED_IN_CODE, (
            "reset"
        )


def test_a_schedule_can_be_switched_off_and_on() -> None:
    """Dagster's scheduler stores other data with a switch: without the time of the start, or with a new one."""

    def schedule(status: InstigatorStatus, start: float | None) -> InstigatorState:
        origin = sensor(None, status, "").origin
        return InstigatorState(origin, InstigatorType.SCHEDULE, status, ScheduleInstigatorData("0 3 * * *", start))

    with machine("UTC") as settings, server(settings), storing_schedules_in(settings) as instance:
        instance.add_instigator_state(schedule(InstigatorStatus.DECLARED_IN_CODE, 1.0))
        for status, start in ((InstigatorStatus.STOPPED, None), (InstigatorStatus.RUNNING, 2.0)) * 2:
            instance.update_instigator_state(schedule(status, start))
            assert [state.status for state in instance.all_instigator_state()] == [status]
