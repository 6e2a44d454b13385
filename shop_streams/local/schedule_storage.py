"""Dagster's storage of sensors and ticks in PostgreSQL, over connections that are kept.

Dagster's own opens a connection for each question, and asks about 30 for each tick of a sensor: with eight sensors that was
a fifth of a core, at rest. Runs don't use this storage, so a stream keeps no connection more.
"""

from __future__ import annotations

from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import PostgresScheduleStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import create_engine


class KeptConnections(PostgresScheduleStorage):
    """`PostgresScheduleStorage` with a pool; a connection that the server has closed is replaced before it is used."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        self._engine = create_engine(
            postgres_url, isolation_level="AUTOCOMMIT", pool_size=2, max_overflow=-1, pool_pre_ping=True
        )

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> KeptConnections:
        """Dagster's way to make one out of dagster.yaml."""
        return cls(pg_url_from_config(config_value), inst_data)

    def dispose(self) -> None:
        """Close the connections: Dagster makes and ends an instance for each tick in its code server."""
        self._engine.dispose()
