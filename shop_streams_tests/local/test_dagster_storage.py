"""The storage that the stack uses, on a real PostgreSQL: switches of sensors and schedules, and what a tick asks it."""

from typing import Any

import dagster as dg
import psycopg2
import pytest
import sqlalchemy
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


def storing_in(settings: Settings) -> dg.DagsterInstance:
    """All three storages in the database, as dagster.yaml has them."""
    overrides: dict[str, Any] = {
        part: {
            "module": "shop_streams.local.dagster_storage",
            "class": kept,
            "config": {"postgres_url": settings.postgres},
        }
        for part, kept in {
            "run_storage": "KeptRunStorage",
            "event_log_storage": "KeptEventLogStorage",
            "schedule_storage": "KeptScheduleStorage",
        }.items()
    }
    return dg.DagsterInstance.local_temp(overrides=overrides)


def test_a_tick_undoes_no_switch() -> None:
    """Dagster's daemon writes the state that it has read at the tick's start, with the tick's cursor."""
    running, stopped = InstigatorStatus.RUNNING, InstigatorStatus.STOPPED
    with machine("UTC") as settings, server(settings), storing_in(settings) as instance:
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

    with machine("UTC") as settings, server(settings), storing_in(settings) as instance:
        instance.add_instigator_state(schedule(InstigatorStatus.DECLARED_IN_CODE, 1.0))
        for status, start in ((InstigatorStatus.STOPPED, None), (InstigatorStatus.RUNNING, 2.0)) * 2:
            instance.update_instigator_state(schedule(status, start))
            assert [state.status for state in instance.all_instigator_state()] == [status]


def test_a_tick_does_not_ask_for_the_schema_again() -> None:
    """Dagster makes an instance for each tick in its code server. The second one of a process asks for its rows only."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    def tick() -> None:
        with storing_in(settings) as instance:
            instance.get_runs(limit=1)
            instance.all_instigator_state()
            instance.event_log_storage.get_asset_records([dg.AssetKey("a")])
            assert instance.schedule_storage is not None
            instance.schedule_storage.get_batch_ticks(["none"], limit=1)

    with machine("UTC") as settings, server(settings):
        tick()
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
        try:
            tick()
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    assert asked and not [one for one in asked if "pg_catalog" in one or "secondary_indexes" in one], asked


def test_what_the_schema_does_not_have_yet_is_asked_again() -> None:
    """A storage that an older Dagster made, and that is migrated beside a running stack."""
    with machine("UTC") as settings, server(settings), storing_in(settings) as instance:
        storage: Any = instance.run_storage
        assert storage.has_run_stats_index_cols()

        def rename(old: str, new: str) -> None:
            with psycopg2.connect(settings.postgres) as connection, connection.cursor() as cursor:
                cursor.execute(f"alter table {old} rename to {new}")

        rename("backfill_tags", "elsewhere")
        assert not storage.has_backfill_tags_table()
        rename("elsewhere", "backfill_tags")
        assert storage.has_backfill_tags_table()
