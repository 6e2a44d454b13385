"""The ledger of replays: one row in PostgreSQL for each dead letter that was sent again.

An origin is topic:partition:offset. The row is written before the letter is sent and updated afterwards, so an interrupted
replay can be found. The row also has the origin of the replayed record. If that record is refused again, the history of the new
letter is known. A table in the lake has the letters that were sent too (replayed.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extras import Json

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import connect, no_answer, run_ddl
from shop_streams.settings import Settings
from shop_streams.streaming.replayed import bring_together

# It runs each time, for 5 s at most. `add column if not exists` would wait for every reader of the table, such as a backup, and others for it.
DDL = """
create table if not exists dead_letter_replays (
    origin  text primary key,          -- topic:partition:offset of the dead letter
    sent    boolean not null,          -- false: begun, perhaps interrupted
    marks   jsonb not null,            -- partition -> end offset before it was sent: search from here on
    at      timestamptz not null default clock_timestamp()
);
do $$ begin
    if not exists (select from pg_attribute where attrelid = 'dead_letter_replays'::regclass and attname = 'landed') then
        alter table dead_letter_replays add column landed text; -- topic:partition:offset of the replayed record
    end if;
end $$
"""


@dataclass(frozen=True)
class Ledger:
    """The table `dead_letter_replays`; each statement is committed at once."""

    cursor: Any

    def lock(self) -> None:
        """Take the lock of replays until the connection ends.

        Raises:
            ShopStreamsError: another replay is running.
        """
        self.cursor.execute("select pg_try_advisory_lock(hashtext('dead_letter_replays'))")
        if not self.cursor.fetchone()[0]:
            raise ShopStreamsError("Another replay is running. Wait until it is done, then list the remaining letters.")

    def sent(self) -> set[str]:
        """Origins of the letters that were sent again."""
        self.cursor.execute("select origin from dead_letter_replays where sent")
        return {row[0] for row in self.cursor.fetchall()}

    def replay_of(self) -> dict[str, str]:
        """Origin of a replayed record -> origin of the letter that it was made of."""
        self.cursor.execute("select landed, origin from dead_letter_replays where landed is not null")
        return dict(self.cursor.fetchall())

    def landings(self) -> dict[str, str | None]:
        """Origin of a letter that was sent -> origin of its record, if known."""
        self.cursor.execute("select origin, landed from dead_letter_replays where sent")
        return dict(self.cursor.fetchall())

    def restore(self, origin: str, landed: str | None) -> None:
        """Note a letter as sent, of which the ledger may know nothing: PostgreSQL was restored from a backup."""
        self.cursor.execute(
            "insert into dead_letter_replays (origin, sent, marks, landed) values (%s, true, '{}', %s)"
            " on conflict (origin) do update set sent = true, landed = excluded.landed",
            (origin, landed),
        )

    def begun(self) -> dict[str, dict[int, int]]:
        """Letters that may have been sent: origin -> partition -> offset from which to search for the record."""
        self.cursor.execute("select origin, marks from dead_letter_replays where not sent")
        return {origin: {int(number): end for number, end in ends.items()} for origin, ends in self.cursor.fetchall()}

    def begin(self, origin: str, ends: Mapping[int, int]) -> None:
        """Record that the letter is about to be sent; `ends`: partition -> the topic's end offset."""
        self.cursor.execute(
            "insert into dead_letter_replays (origin, sent, marks) values (%s, false, %s)"
            " on conflict (origin) do update set marks = excluded.marks",
            (origin, Json({str(number): end for number, end in ends.items()})),
        )

    def mark_sent(self, origin: str, landed: str) -> None:
        """Record that the letter was sent, and the origin of its new record."""
        self.cursor.execute(
            "update dead_letter_replays set sent = true, landed = %s, at = clock_timestamp() where origin = %s",
            (landed, origin),
        )


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger, on a new connection.

    Raises:
        ShopStreamsError: PostgreSQL does not answer, or another session keeps the table locked for 5 s.
    """
    try:
        run_ddl(settings.postgres, "dead_letter_replays_ddl", DDL)
        connection = connect(settings.postgres)
    except psycopg2.errors.QueryCanceled as error:
        raise ShopStreamsError(
            "Another session has locked the table dead_letter_replays for 5 s. pg_stat_activity shows which one; end it, or try again later."
        ) from error
    except psycopg2.OperationalError as error:
        raise no_answer("the ledger of replays", error) from error
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            ledger = Ledger(cursor)
            bring_together(settings, ledger)
            yield ledger
            bring_together(settings, ledger)
    finally:
        connection.close()


def origin_chain(origin: str, replay_of: Mapping[str, str]) -> list[str]:
    """Origins of the letters that led to this one, newest first."""
    chain: list[str] = []
    while (origin := replay_of.get(origin, "")) and origin not in chain:
        chain.append(origin)
    return chain
