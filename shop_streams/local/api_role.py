"""The embedded database's user for the API. It may read the tables that the API serves, and nothing else."""

from __future__ import annotations

import secrets
from pathlib import Path

from psycopg2 import sql

from shop_streams.local.private import write_private
from shop_streams.postgres import transaction
from shop_streams.settings import API_PASSFILE, API_ROLE, Settings

CONNECTIONS = 150  # of the server's 200
TABLES = Path(__file__).with_suffix(".sql")
ROLE = """
alter role {role} login nosuperuser nocreatedb nocreaterole connection limit {connections} password {password};
alter role {role} set default_transaction_read_only = on
"""


def prepare_api_role(settings: Settings) -> None:
    """Create the user with a new password, which goes to the home; it may read the served tables, also those created later.

    Idempotent. Databases of others are left as they are.
    """
    if not settings.embedded["postgres"] or settings.api_postgres_dsn:
        return
    password = secrets.token_urlsafe(32)
    role = sql.Identifier(API_ROLE)
    with transaction(settings.postgres) as cursor:
        cursor.execute("select from pg_roles where rolname = %s", (API_ROLE,))
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("create role {}").format(role))
        cursor.execute("set local scram_iterations = 1")  # as for the other password, see prepare.py
        cursor.execute(
            sql.SQL(ROLE).format(role=role, connections=sql.Literal(CONNECTIONS), password=sql.Literal(password))
        )
        cursor.execute(TABLES.read_text())
        # Before the commit: the server then never has a password that the home has not.
        write_private(settings.home / API_PASSFILE, f"*:*:*:{API_ROLE}:{password}\n")
