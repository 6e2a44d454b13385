"""Dagster's storages in PostgreSQL, with a connection pool.

Dagster's own storages open a connection for each query, about 30 for each tick of a sensor: seven idle sensors took a
fifth of a core. A pooled connection that the server has closed is replaced before it is used.
"""

from __future__ import annotations

from typing import Any

from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from dagster_postgres.utils import pg_url_from_config, set_pg_statement_timeout
from sqlalchemy import create_engine, event


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
    """`PostgresScheduleStorage` with the pool."""
