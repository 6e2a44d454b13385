"""What a mart's source remembers between two comparisons, so that it reads only what has changed: one text in PostgreSQL.

It is a cache. Without it, the source reads everything once.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

import psycopg2

from shop_streams.postgres import run_ddl, transaction

DDL = "create table if not exists source_states (mart text primary key, state bytea not null)"
SAVE = "insert into source_states values (%s, %s) on conflict (mart) do update set state = excluded.state"


@dataclass(frozen=True)
class SourceStates:
    """The state of one mart's source, in the database `dsn`."""

    dsn: str
    mart: str

    def load(self) -> Any:
        """What was saved last (a JSON value), or None, also if it can't be read."""
        try:
            with transaction(self.dsn) as cursor:
                cursor.execute("select state from source_states where mart = %s", (self.mart,))
                found = cursor.fetchone()
        except psycopg2.errors.UndefinedTable:
            return None
        try:
            return json.loads(zlib.decompress(found[0])) if found else None
        except (zlib.error, ValueError):
            return None

    def save(self, state: Any) -> None:
        """Save a JSON value. Of two writers the last one wins."""
        run_ddl(self.dsn, "source_states", DDL)
        with transaction(self.dsn) as cursor:
            cursor.execute(SAVE, (self.mart, zlib.compress(json.dumps(state).encode())))
