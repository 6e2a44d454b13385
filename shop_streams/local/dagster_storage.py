"""Dagster's storages in PostgreSQL, with a connection pool and switches that stay off.

Dagster makes new storages for each tick of a sensor, and each of its own asks PostgreSQL for the list of tables and opens a
connection for each query, about 30 for each tick: the ticks of an idle stack took a third of a slow core. Here a process
has one pool, and looks once whether the tables are there. A pooled connection that the server has closed is replaced before
it is used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from dagster_postgres.utils import pg_url_from_config, set_pg_statement_timeout
from sqlalchemy import Connection, Engine, create_engine, event, text

from shop_streams.postgres import CONNECT_SECONDS, SILENCE_MILLISECONDS

SWITCH_LOCK = 0x5057_1754  # any number: the key of PostgreSQL's advisory lock


class _OfProcess:
    """What all storages of one class and one database share in this process."""

    def __init__(self, postgres_url: str) -> None:
        self.engine: Engine = create_engine(
            postgres_url, isolation_level="AUTOCOMMIT", pool_size=2, max_overflow=-1, pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": SILENCE_MILLISECONDS},
        )  # fmt: skip
        self.tables_are_there = False
        self.known: set[tuple[str, ...]] = set()  # what the schema has, which no process loses while it runs


@cache
def _of_process(storage: str, postgres_url: str) -> _OfProcess:
    return _OfProcess(postgres_url)


class _Kept:
    """Adds a connection pool to one of Dagster's storages."""

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        shared = _of_process(type(self).__name__, postgres_url)
        self._known = shared.known
        super().__init__(  # type: ignore[call-arg]
            postgres_url, should_autocreate_tables=not shared.tables_are_there, inst_data=inst_data
        )
        shared.tables_are_there = True
        self._engine = shared.engine

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


def _asked_once(storage: type, *questions: str) -> Callable[[type], type]:
    """Class decorator: methods of Dagster's `storage` that ask for a table, column or index ask until it is there."""

    def once(question: Callable[..., bool]) -> Callable[..., bool]:
        @wraps(question)
        def ask(self: Any, *arguments: Any) -> bool:
            asked = (question.__name__, *(one for one in arguments if isinstance(one, str)))
            if asked not in self._known and question(self, *arguments):
                self._known.add(asked)
            return asked in self._known

        return ask

    def with_answers(kept: type) -> type:
        for name in questions:
            setattr(kept, name, once(getattr(storage, name)))
        return kept

    return with_answers


@_asked_once(
    PostgresRunStorage,
    "has_built_index",
    "has_run_stats_index_cols",
    "has_bulk_actions_selector_cols",
    "has_backfill_id_column",
    "has_backfill_tags_table",
)
class KeptRunStorage(_Kept, PostgresRunStorage):
    """`PostgresRunStorage` with the pool."""


@_asked_once(
    PostgresEventLogStorage,
    "has_secondary_index",
    "has_table",
    "_has_asset_key_col_on_connection",
)
class KeptEventLogStorage(_Kept, PostgresEventLogStorage):
    """`PostgresEventLogStorage` with the pool."""


@_asked_once(
    PostgresScheduleStorage,
    "has_built_index",
    "has_secondary_index_table",
    "_has_instigators_table",
    "_has_asset_daemon_asset_evaluations_table",
)
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
