"""Items summed over half hours, as JSON, from the two tables that the mart of clickstream fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg2

from shop_streams.api.cache import Cache, Together
from shop_streams.api.database import Database

PAST_INT4 = 2**31
INT8 = 2**63 - 1
_encode = msgspec.json.Encoder().encode


class ItemViews(msgspec.Struct):
    """`deep`: mean depth over all views; each half hour's mean weighs as much as its views."""

    url: str
    id_item: str
    count: int
    deep: float


class ItemOrders(msgspec.Struct):
    """`sum`: the sum of price x amount."""

    url: str
    id_item: str
    count: int
    sum: float


@dataclass(frozen=True)
class ServedTable:
    """A table (ts, url, item_id, count, …), and how its last column is summed over half hours."""

    name: str
    summed: str
    row: type[msgspec.Struct]


USERS = ServedTable("users", "sum(deep * count) / sum(count)", ItemViews)
ORDERS = ServedTable("orders", "sum(sum)", ItemOrders)

# What the answer depends on: the version of the table, and the first half hour. Every change of the rows raises the number in
# `served_changes`, see local/api_role.sql. Where that is missing, the version is the snapshot: it changes when any transaction
# of the server ends. All `since` between two half hours have the same rows, and so the same first half hour.
CHANGES = """
select tgrelid || ' ' || change
  from served_changes, pg_trigger
 where name = '{name}' and tgrelid = '{name}'::regclass and tgname = 'served_change' and tgenabled <> 'D'
"""
SNAPSHOT = "select pg_current_snapshot()::text"
STATE = "select coalesce(({version}), ({snapshot})), (select min(ts) from {name} where ts >= %(since)s::int8)"
# The order must be the same for every page and in every database, so it is the order of bytes.
ROWS = """
select url, item_id, sum(count)::int8, ({summed})::float8
  from {name}
 where ts >= %(since)s::int8 and (%(url)s::text is null or url = %(url)s)
 group by url, item_id
 order by url collate "C", item_id collate "C"
 limit %(limit)s offset %(offset)s
"""


@dataclass(frozen=True)
class Selection:
    """Which items: of half hours that end at `since` or later (epoch seconds), of the shop `url`, and which page of them."""

    since: int
    url: str | None = None
    limit: int | None = None
    offset: int = 0

    def parameters(self) -> dict[str, Any]:
        """Of the statements. No text in PostgreSQL has a NUL, so a `url` with one selects nothing."""
        impossible = self.url is not None and "\0" in self.url
        return {
            "since": PAST_INT4 if impossible else min(max(self.since, -PAST_INT4), PAST_INT4),
            "url": None if impossible else self.url,
            "limit": None if self.limit is None else min(self.limit, INT8),
            "offset": min(self.offset, INT8),
        }


class Items:
    """Answers of the endpoints `users` and `orders`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache = Cache()
        self._states = Together()
        self._has_changes = True

    async def answer(self, table: ServedTable, selection: Selection) -> bytes:
        """The body of the answer 200.

        Raises:
            Unavailable: the database does not answer.
        """
        parameters = selection.parameters()
        version, first = await self._states.ask(
            (table.name, parameters["since"]),
            lambda: self._database.ask(lambda cursor: self._state(cursor, table, parameters)),
        )
        if first is None:
            return body(selection.since, b"[]", check=True)
        key = (table.name, first, parameters["url"], parameters["limit"], parameters["offset"])
        contents = await self._cache.get(
            key, version, lambda: self._database.ask(lambda cursor: _rows(cursor, table, parameters))
        )

        async def whole() -> bytes:
            return body(selection.since, contents, check=True)

        # All clients of one second ask for the same `since`. A copy for each costs more than all else for a large answer.
        return await self._cache.get(("body", *key), f"{selection.since} {version}", whole)

    def _state(self, cursor: Any, table: ServedTable, parameters: dict[str, Any]) -> tuple[str, int | None]:
        """The version, and the first half hour that is selected; None if there is none, or no table yet."""
        for version in (CHANGES, SNAPSHOT) if self._has_changes else (SNAPSHOT,):
            try:
                cursor.execute(
                    STATE.format(version=version, snapshot=SNAPSHOT, name=table.name).format(name=table.name),
                    parameters,
                )
            except psycopg2.errors.UndefinedTable:
                continue
            except psycopg2.errors.InsufficientPrivilege:  # of a database that was restored from an embedded one
                if version == SNAPSHOT:
                    raise
                continue
            self._has_changes = version == CHANGES
            found: tuple[str, int | None] = cursor.fetchone()
            return found
        return "", None


def body(since: int, contents: bytes, check: bool) -> bytes:
    """An answer; `since` may have more digits than msgspec can write."""
    return b'{"timestamp":%d,"contents":%s,"check":%s}' % (since, contents, b"true" if check else b"false")


def _rows(cursor: Any, table: ServedTable, parameters: dict[str, Any]) -> bytes:
    """The selected rows as a JSON array."""
    try:
        cursor.execute(ROWS.format(name=table.name, summed=table.summed), parameters)
    except psycopg2.errors.UndefinedTable:  # dropped in between
        return b"[]"
    return _encode([table.row(*row) for row in cursor])
