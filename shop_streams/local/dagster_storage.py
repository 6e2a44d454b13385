"""Dagster's storages in PostgreSQL, with a connection pool and switches that stay off.

Dagster's own storages open a connection for each query, about 30 for each tick of a sensor: seven idle sensors took a
fifth of a core. A pooled connection that the server has closed is replaced before it is used.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from dagster_postgres.utils import pg_url_from_config, set_pg_statement_timeout
from sqlalchemy import Connection, create_engine, event, text

SWITCH_LOCK = 0x5057_1754  # any number: the key of PostgreSQL's advisory lock


class _Kept:
    """Adds a connection pool to one of Dagster's storages."""

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)  # type: ignore[call-arg]
        self._engine = create_engine(
            postgres_url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=-1, pool_pre_ping=True
        )

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Any:
        """Dagster calls this with the configuration in dagster.yaml."""
        return cls(pg_url_from_config(config_value), inst_data)

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Limit each statement's time, in ms. Dagster's own method makes a pool that fails after the server's restart."""
        self._engine.dispose()
        event.listen(
            self._engine, "connect", lambda connection, _: set_pg_statement_timeout(connection, statement_timeout)
        )

    def dispose(self) -> None:
        """Close the connections: Dagster makes and ends an instance for each tick in its code server."""
        super().dispose()  # type: ignore[misc]
        self._engine.dispose()


class KeptRunStorage(_Kept, PostgresRunStorage):
    """`PostgresRunStorage` with the pool."""


class KeptEventLogStorage(_Kept, PostgresEventLogStorage):
    """`PostgresEventLogStorage` with the pool."""


class KeptScheduleStorage(_Kept, PostgresScheduleStorage):
    """`PostgresScheduleStorage` with the pool. A tick does not undo a person's switch of its sensor.

    Dagster's daemon reads the state, and writes it back with the tick's times and the old status. A switch in between was
    lost: the stream went on although the UI had confirmed that it was off.
    """

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        self._locked = threading.local()
        super().__init__(postgres_url, inst_data)

    @contextmanager
    def connect(self, run_id: str | None = None) -> Iterator[Connection]:
        """A connection: the one that holds the lock, if this thread has it."""
        connection = getattr(self._locked, "connection", None)
        if connection is not None:
            yield connection
            return
        with super().connect(run_id) as connection:
            yield connection

    def update_instigator_state(self, state: InstigatorState) -> InstigatorState:
        """Store the state, with the stored status if a tick writes it."""
        with self.connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({SWITCH_LOCK})"))
            self._locked.connection = connection
            try:
                stored = self.get_instigator_state(state.instigator_origin_id, state.selector_id)
                return super().update_instigator_state(_with_switch(stored, state))
            finally:
                self._locked.connection = None
                connection.execute(text(f"SELECT pg_advisory_unlock({SWITCH_LOCK})"))


def _with_switch(stored: InstigatorState | None, new: InstigatorState) -> InstigatorState:
    """The state to store: `new`, unless a tick has read it before a person's switch.

    A tick changes the state's data, and keeps the time of the last start. A person's switch changes the status, and the time
    if it is a start.
    """
    of_sensor = new.instigator_type == InstigatorType.SENSOR  # a schedule's state is written once an hour only
    if stored is None or not of_sensor or new.instigator_data == stored.instigator_data:
        return new
    if _started(new) < _started(stored):
        return stored  # without the tick's cursor, as after a tick that failed
    switched_off = stored.status == InstigatorStatus.STOPPED and _started(new) == _started(stored)
    return new.with_status(InstigatorStatus.STOPPED) if switched_off else new


def _started(state: InstigatorState) -> float:
    """When a person last started the sensor; 0 if never."""
    return getattr(state.instigator_data, "last_sensor_start_timestamp", None) or 0.0
