"""What was replayed, and where it came to lie: one row in PostgreSQL for each dead letter that was sent again.

A place is topic:partition:offset. The row is written before the letter is sent and once more after it, so that a replay that
was cut off is known. The place at which the replayed record lies is what makes the origin of a letter that is refused
again known: no stream needs to read headers for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extras import Json

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import connect
from shop_streams.settings import Settings

DDL = """
create table if not exists dead_letter_replays (
    origin  text primary key,          -- topic:partition:offset of the dead letter
    sent    boolean not null,          -- false: begun, and perhaps cut off
    marks   jsonb not null,            -- the topic's high watermarks before it was sent: look for it from here on
    at      timestamptz not null default clock_timestamp()
);
alter table dead_letter_replays add column if not exists landed text; -- topic:partition:offset of the replayed record
"""

Marks = Mapping[int, int]


@dataclass(frozen=True)
class Ledger:
    """The table `dead_letter_replays`, each statement committed at once."""

    cursor: Any

    def lock(self) -> None:
        """Be the only one who replays, until the connection ends.

        Raises:
            ShopStreamsError: another replay is under way.
        """
        self.cursor.execute("select pg_try_advisory_lock(hashtext('dead_letter_replays'))")
        if not self.cursor.fetchone()[0]:
            raise ShopStreamsError("Another replay is under way. Wait until it is done, then list what is left.")

    def sent(self) -> set[str]:
        """Places of the letters that were sent again."""
        self.cursor.execute("select origin from dead_letter_replays where sent")
        return {row[0] for row in self.cursor.fetchall()}

    def origins(self) -> dict[str, str]:
        """Place of a replayed record -> place of the letter that it was made of."""
        self.cursor.execute("select landed, origin from dead_letter_replays where landed is not null")
        return dict(self.cursor.fetchall())

    def begun(self) -> dict[str, dict[int, int]]:
        """Letters of which is not known whether they were sent: place -> the marks from which to look for the record."""
        self.cursor.execute("select origin, marks from dead_letter_replays where not sent")
        return {
            origin: {int(number): mark for number, mark in marks.items()} for origin, marks in self.cursor.fetchall()
        }

    def begin(self, place: str, marks: Marks) -> None:
        """Note that the letter is about to be sent."""
        self.cursor.execute(
            "insert into dead_letter_replays (origin, sent, marks) values (%s, false, %s)"
            " on conflict (origin) do update set marks = excluded.marks",
            (place, Json({str(number): mark for number, mark in marks.items()})),
        )

    def note_sent(self, place: str, landed: str) -> None:
        """Note that the letter lies in its topic again, and where."""
        self.cursor.execute(
            "update dead_letter_replays set sent = true, landed = %s, at = clock_timestamp() where origin = %s",
            (landed, place),
        )


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger, on a connection of its own.

    Raises:
        ShopStreamsError: PostgreSQL does not answer.
    """
    try:
        connection = connect(settings.postgres)
    except psycopg2.OperationalError as error:
        raise ShopStreamsError(
            f"PostgreSQL knows what was replayed and does not answer: {str(error).strip()}. `shop-streams status` tells."
        ) from error
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(hashtext('dead_letter_replays_ddl'))")
            cursor.execute(DDL)
            cursor.execute("select pg_advisory_unlock(hashtext('dead_letter_replays_ddl'))")
            yield Ledger(cursor)
    finally:
        connection.close()


def origin_chain(place: str, origins: Mapping[str, str]) -> list[str]:
    """The letters that this one came from, newest first: the last is the one that was refused first."""
    chain: list[str] = []
    while (place := origins.get(place, "")) and place not in chain:
        chain.append(place)
    return chain
