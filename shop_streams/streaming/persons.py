"""Where a domain has rows of people, by their ids: for `forget-user`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shop_streams.encoding import JSON
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.topics import Topic


@dataclass(frozen=True)
class PersonColumns:
    """A lake table, and the columns with the id of the person (or one of the people) whom a row is about."""

    table: Table
    columns: tuple[str, ...]


@dataclass(frozen=True)
class PersonRows:
    """A table in PostgreSQL, and the column with a person's id.

    `remove(cursor, id)` deletes the person's rows in the cursor's transaction, with all that must change together with them.
    `prepare(dsn)` is called before: DDL, whose locks would stay until the end of that transaction.
    `of_the_shop`: the shop's own table: it is changed only if the operator says so.
    """

    table: str
    column: str
    remove: Callable[[Any, str], None]
    of_the_shop: bool = False
    prepare: Callable[[str], None] = lambda _dsn: None


@dataclass(frozen=True)
class EventHour:
    """The hour of an event in a streamed table: `column` is its time; hours begin `offset(settings)` seconds after the clock hour."""

    column: str
    offset: Callable[[Settings], int]


@dataclass(frozen=True, kw_only=True)
class Persons:
    """The people of one domain.

    Attributes:
        lake: tables in the lake; those that others are computed from come first.
        postgres: tables in PostgreSQL.
        named_in: tables with other people's rows that name the person. These rows stay.
        topics: topics whose records name people.
        in_letter: (decoded value of a dead letter or None, its key) -> ids that it names.
        row_in_letter: the kept bytes of a file's row -> its decoded value, as the domain's loader decodes it; it raises as
            `Encoding.parse`.
        event_hour: for a domain with hourly numbers of which a topic keeps a copy (see `FORGOTTEN.hour`).
        files: a table, and its column with the file that a row came from, if the domain loads files.
        more_copies: further copies that stay: what they are, in words.
    """

    lake: tuple[PersonColumns, ...] = ()
    postgres: tuple[PersonRows, ...] = ()
    named_in: tuple[PersonColumns, ...] = ()
    topics: tuple[Topic, ...] = ()
    in_letter: Callable[[Any, bytes | None], Iterable[object]] = lambda _value, _key: ()
    row_in_letter: Callable[[bytes], Any] = JSON.parse
    event_hour: EventHour | None = None
    files: tuple[Table, str] | None = None
    more_copies: tuple[str, ...] = ()


def fields(*names: str) -> Callable[[Any, bytes | None], list[object]]:
    """An `in_letter`: the values of these fields of a JSON object."""
    return lambda value, _key: [value.get(name) for name in names] if isinstance(value, Mapping) else []


def names_person(found: Iterable[object], person: str) -> bool:
    """Whether one of the values is the person's id: as a text, bytes, or a number. A letter may have the wrong one of these."""
    for value in found:
        if isinstance(value, bytes):
            if value == person.encode():
                return True
        elif isinstance(value, int | str) and not isinstance(value, bool) and str(value) == person:
            return True
    return False


NOBODY = Persons()
