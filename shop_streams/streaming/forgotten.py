"""What is kept of people whose rows were removed (`forget-user`): no id, no value of theirs.

- The table `FORGOTTEN` in the lake: the origins of removed records, so that the accounting does not call them missing.
- In PostgreSQL, a keyed hash of each id and the time of its removal, so that a loader that reads old files again leaves these
  rows out; and the removals that are not finished.

Spark's workers import this file: no Dagster here.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg2.errors
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.errors import ShopStreamsError
from shop_streams.lake import reader
from shop_streams.lake.table import ORIGIN_COLUMNS, Column, Table
from shop_streams.lake.write import append_rows
from shop_streams.postgres import connect, run_ddl, transaction
from shop_streams.rules import MAX_AHEAD

if TYPE_CHECKING:
    from shop_streams.settings import Settings

FORGOTTEN = Table(
    path="forgotten_records",
    columns=(
        Column("topic", "string", "the record's topic"),
        *ORIGIN_COLUMNS,
        Column(
            "topic_identity", "string", "cluster and id of the topic, as in the stream's checkpoint; null if unknown"
        ),
        Column("hour", "bigint", "beginning of the hour of the event, epoch seconds, if its domain has hourly numbers"),
    ),
    partition_by=("topic",),
    rows_are="One row is one record of a topic whose row or dead letter was removed together with a person's others.",
)
_ARROW = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64()}
_SCHEMA = pa.schema([(column.name, _ARROW[column.type]) for column in FORGOTTEN.columns])

DDL = """
create table if not exists forgotten_key (id int primary key check (id = 1), secret bytea not null);
create table if not exists forgotten_persons (
    domain text not null,
    person bytea not null,         -- sha256(secret || id)
    until  timestamptz not null,   -- rows up to this time are removed; later ones are new
    primary key (domain, person)
);
create table if not exists forgotten_removals (
    table_path text primary key,   -- a streamed table whose marts are not marked yet
    version    int8 not null       -- the table's version before the removal
);
"""


def record_origins(
    settings: Settings, topic: str, identity: str | None, origins: pa.Table, hours: pa.Array | None = None
) -> None:
    """Append rows to `FORGOTTEN`. `origins` has kafka_partition and kafka_offset; `hours` as in the table.

    Recording an origin again changes no account.
    """
    count = origins.num_rows
    columns = [
        pa.array([topic] * count, pa.string()),
        origins["kafka_partition"].cast(pa.int32()).combine_chunks(),
        origins["kafka_offset"].cast(pa.int64()).combine_chunks(),
        pa.array([identity] * count, pa.string()),
        pa.nulls(count, pa.int64()) if hours is None else hours,
    ]
    append_rows(pa.table(columns, schema=_SCHEMA), FORGOTTEN, settings)


def of_topic(topic: str, identity: str | None) -> pc.Expression:
    """The rows of `FORGOTTEN` whose offsets are valid for the topic of this identity."""
    known = pc.field("topic_identity")
    return (pc.field("topic") == topic) & (known.is_null() if identity is None else known == identity)


def forgotten_hours(settings: Settings, topic: str) -> set[int]:
    """The hours (epoch seconds of their beginning) from which records of the topic were removed."""
    found = reader.scan(FORGOTTEN.uri(settings), ["hour"], pc.field("topic") == topic)
    return set(pc.unique(found["hour"].drop_null()).to_pylist()) if found.num_columns else set()


def create(dsn: str) -> None:
    """Create the tables in PostgreSQL, and this database's secret, where they are missing."""
    run_ddl(dsn, "forgotten", DDL)
    with transaction(dsn) as cursor:
        cursor.execute("insert into forgotten_key values (1, %s) on conflict do nothing", (secrets.token_bytes(32),))


def keyed_hash(secret: bytes, person: str) -> bytes:
    """The hash of an id. It is not HMAC, so that PostgreSQL can compute it without an extension."""
    return hashlib.sha256(secret + person.encode()).digest()


def remember(dsn: str, domains: Collection[str], person: str) -> datetime:
    """Note in each domain that rows of the person are removed up to the latest time that is accepted now; return this time."""
    create(dsn)
    with transaction(dsn) as cursor:
        cursor.execute("select secret, clock_timestamp() from forgotten_key")
        secret, now = cursor.fetchone()
        # The rules accept rows from the future. They are removed now, so they must stay away too.
        until = now + MAX_AHEAD
        for domain in domains:
            cursor.execute(
                "insert into forgotten_persons values (%s, %s, %s)"
                " on conflict (domain, person) do update set until = excluded.until",
                (domain, keyed_hash(bytes(secret), person), until),
            )
    return until


@dataclass(frozen=True)
class ForgottenPersons:
    """The people whose rows were removed from a domain: keyed hash of the id -> the time up to which."""

    secret: bytes = b""
    until: Mapping[bytes, datetime] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.until)

    def leaves_out(self, person: object, moment: datetime) -> bool:
        """Whether a row of this person (a number, or a text) and this event time was removed."""
        until = self.until.get(keyed_hash(self.secret, str(person)))
        return until is not None and moment <= until


def forgotten(dsn: str, domain: str) -> ForgottenPersons:
    """The forgotten people of a domain. A loader asks once before it reads files, and leaves out their rows (`leaves_out`)."""
    try:
        with transaction(dsn) as cursor:
            cursor.execute("select secret from forgotten_key")
            key = cursor.fetchone()
            cursor.execute("select person, until from forgotten_persons where domain = %s", (domain,))
            until = {bytes(person): moment.astimezone(UTC) for person, moment in cursor.fetchall()}
    except psycopg2.errors.UndefinedTable:
        return ForgottenPersons()
    return ForgottenPersons(bytes(key[0]) if key else b"", until)


class AnotherRemoval(ShopStreamsError):
    """Another removal is running."""


@contextmanager
def only_removal(dsn: str) -> Iterator[None]:
    """Hold the lock of removals: two at once would lose the note of those that are not finished.

    Raises:
        AnotherRemoval: another one holds the lock.
    """
    connection = connect(dsn, keepalives_idle=5, keepalives_interval=2, keepalives_count=3)
    try:
        connection.autocommit = True  # the lock is the session's; no transaction stays open meanwhile
        with connection.cursor() as cursor:
            cursor.execute("select pg_try_advisory_lock(hashtext('forget_user'))")
            if not cursor.fetchone()[0]:
                raise AnotherRemoval("Another removal is running. Wait for it, then run the command again.")
        yield
    finally:
        connection.close()


def begin_removal(dsn: str, table_path: str, version: int) -> None:
    """Note that rows are about to be removed from a streamed table at this version. An earlier unfinished removal stays noted."""
    with transaction(dsn) as cursor:
        cursor.execute("insert into forgotten_removals values (%s, %s) on conflict do nothing", (table_path, version))


def unfinished_removals(dsn: str) -> dict[str, int]:
    """Streamed table -> its version before a removal whose marts are not marked yet."""
    with transaction(dsn) as cursor:
        cursor.execute("select table_path, version from forgotten_removals")
        return dict(cursor.fetchall())


def end_removal(dsn: str, table_path: str) -> None:
    """Note that the marts of the table are marked."""
    with transaction(dsn) as cursor:
        cursor.execute("delete from forgotten_removals where table_path = %s", (table_path,))
