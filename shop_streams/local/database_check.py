"""What a PostgreSQL that somebody else operates must be: checked at each start, before anything is created in it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import transaction
from shop_streams.settings import Settings

OLDEST = 13  # the first with gen_random_uuid and pg_current_snapshot
ENCODINGS = ("UTF8", "SQL_ASCII")  # the second keeps the bytes that it is given, and ours are UTF-8
FOUND = """
select current_setting('server_version_num')::int, current_setting('server_encoding'),
       current_setting('transaction_read_only')::bool, pg_is_in_recovery(), current_setting('TimeZone'),
       extract(timezone from timestamptz '2026-01-01') = 0 and extract(timezone from timestamptz '2026-07-01') = 0,
       quote_ident(current_database()), quote_ident(current_user),
       array(select lower(split_part(line, '=', 1)) from pg_db_role_setting, unnest(setconfig) line
              where setrole = (select oid from pg_roles where rolname = current_user))
"""


@dataclass(frozen=True)
class Database:
    """What a session finds that sets nothing itself."""

    version: int  # 130004 is 13.4
    encoding: str
    read_only: bool
    standby: bool
    zone: str
    utc: bool
    name: str  # quoted, as in a statement
    role: str
    role_settings: Collection[str]  # names in lower case; others are the database's or the server's

    def problem(self) -> str | None:
        """What keeps the stack from working with it, and the next step; None if nothing does."""
        if self.version < 10_000 * OLDEST:
            return f"PostgreSQL is version {self.version // 10_000}. Use {OLDEST} or later."
        if self.standby:
            return "PostgreSQL is a standby, which can only be read. Set SHOP_STREAMS_POSTGRES_DSN to the primary's address."
        if self.read_only:
            return (
                "PostgreSQL's sessions can only read. "
                f"Run `BEGIN READ WRITE; {self._alter('default_transaction_read_only', 'off')}; COMMIT` there, then try again."
            )
        if self.encoding not in ENCODINGS:
            return (
                f"The database {self.name} has the encoding {self.encoding}, which lacks most of the world's letters. Create one "
                "with `CREATE DATABASE shop_streams ENCODING 'UTF8' TEMPLATE template0`, and name it in SHOP_STREAMS_POSTGRES_DSN."
            )
        if not self.utc:  # Dagster stores naive times: sessions in two zones would read them hours apart
            alter = self._alter("timezone", "'UTC'")
            return (
                f"PostgreSQL's sessions are in the time zone {self.zone!r}, and Dagster's times would be hours off. "
                f"Run `{alter}` there, then try again."
            )
        return None

    def _alter(self, setting: str, value: str) -> str:
        owner = f"ROLE {self.role}" if setting in self.role_settings else f"DATABASE {self.name}"
        return f"ALTER {owner} SET {setting} TO {value}"


def require_usable(settings: Settings) -> None:
    """Check the database as other programs see it, because they read Dagster's tables too.

    Raises:
        ShopStreamsError: it can't be used; the message has the statement that changes it.
    """
    with _without_pgtz(), transaction(settings.postgres) as cursor:
        cursor.execute(FOUND)
        problem = Database(*cursor.fetchone()).problem()
    if problem:
        raise ShopStreamsError(problem)


@contextmanager
def _without_pgtz() -> Iterator[None]:
    """Remove `PGTZ`, which every process of the stack has: libpq would set that zone."""
    zone = os.environ.pop("PGTZ", None)
    try:
        yield
    finally:
        if zone is not None:
            os.environ["PGTZ"] = zone
