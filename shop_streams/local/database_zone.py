"""PostgreSQL's time zone: Dagster stores naive times, so sessions in two zones would read them hours apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import transaction
from shop_streams.settings import Settings

ZONE = """
select current_setting('TimeZone'), quote_ident(current_database()), quote_ident(current_user),
       extract(timezone from timestamptz '2026-01-01') = 0 and extract(timezone from timestamptz '2026-07-01') = 0,
       exists (select from pg_db_role_setting, unnest(setconfig) line
                where setrole = (select oid from pg_roles where rolname = current_user) and line ilike 'timezone=%')
"""


def require_utc(settings: Settings) -> None:
    """Check that a session without a time zone setting is in UTC, because other programs read Dagster's tables too.

    Raises:
        ShopStreamsError: it is not; the message has the statement that changes it.
    """
    with _without_pgtz(), transaction(settings.postgres) as cursor:
        cursor.execute(ZONE)
        zone, database, role, right, by_role = cursor.fetchone()
    if not right:
        what = f"ROLE {role}" if by_role else f"DATABASE {database}"
        raise ShopStreamsError(
            f"PostgreSQL's sessions are in the time zone {zone!r}, and Dagster's times would be hours off. "
            f"Run `ALTER {what} SET timezone TO 'UTC'` there, then try again."
        )


@contextmanager
def _without_pgtz() -> Iterator[None]:
    """Remove `PGTZ`, which every process of the stack has: libpq would set that zone."""
    zone = os.environ.pop("PGTZ", None)
    try:
        yield
    finally:
        if zone is not None:
            os.environ["PGTZ"] = zone
