"""PostgreSQL's time zone: Dagster stores naive times, so sessions of two zones would see them hours apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import connect
from shop_streams.settings import Settings

ZONE = """
select current_setting('TimeZone'), quote_ident(current_database()), quote_ident(current_user),
       extract(timezone from timestamptz '2026-01-01') = 0 and extract(timezone from timestamptz '2026-07-01') = 0,
       exists (select from pg_db_role_setting, unnest(setconfig) line
                where setrole = (select oid from pg_roles where rolname = current_user) and line ilike 'timezone=%')
"""


def require_utc(settings: Settings) -> None:
    """Check that a session which says nothing of a zone is in UTC: other programs use Dagster's tables, too.

    Raises:
        ShopStreamsError: it is not; with the statement that changes it.
    """
    with _no_zone_of_ours():
        connection = connect(settings.postgres)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(ZONE)
            row = cursor.fetchone()
    finally:
        connection.close()
    assert row is not None
    zone, database, role, right, by_role = row
    if not right:
        what = f"ROLE {role}" if by_role else f"DATABASE {database}"
        raise ShopStreamsError(
            f"PostgreSQL's sessions are in the time zone {zone!r}, and Dagster's times would be hours off. "
            f"Run `ALTER {what} SET timezone TO 'UTC'` there, then try again."
        )


@contextmanager
def _no_zone_of_ours() -> Iterator[None]:
    """Without `PGTZ`, which every process of ours has: libpq would ask for that zone."""
    ours = os.environ.pop("PGTZ", None)
    try:
        yield
    finally:
        if ours is not None:
            os.environ["PGTZ"] = ours
