"""Which dates must be computed again because of another date.

Events without coordinates take those of the user's last located message, which may be of an earlier date. If a late message
changes what that date's last located message of a user is, later dates with such events differ too. Each gets a number in
PostgreSQL, which is a part of its version; raised, the date is computed again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date

import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.defs.community.schema import EVENTS, STG_EVENTS
from shop_streams.defs.community.versions import as_dates
from shop_streams.lake.reader import Lake, batches, prune_to
from shop_streams.lake.table import Table
from shop_streams.postgres import run_ddl, transaction

DDL = "create table if not exists community_refills (event_date date primary key, number bigint not null)"
RAISE = """
insert into community_refills select day, 1 from unnest(%s::date[]) as day
on conflict (event_date) do update set number = community_refills.number + 1
"""
_KEY = ("event_date", "user_id")
_ORDER = ("event_time", "message_id", "lat", "lon")
_MESSAGE = [*_KEY, *_ORDER]
_DELIVERED = {name: pc.field(name) for name in _MESSAGE} | {"message_id": pc.field("event", "message_id")}
_TAKER = ["event_date", "user_id", "position_source", "position_date"]


def refills(dsn: str) -> dict[str, int]:
    """Date -> how often it was marked; dates that were never marked are absent."""
    try:
        with transaction(dsn) as cursor:
            cursor.execute("select event_date::text, number from community_refills")
            return dict(cursor.fetchall())
    except psycopg2.errors.UndefinedTable:
        return {}


def mark_refills(lake: Lake, dsn: str, dates: Collection[str], folders: Collection[str], snapshot: int) -> set[str]:
    """Mark the later dates that differ once these `dates` are written; returns them. To be called before these are written.

    If the write fails, the marked dates are computed once in vain, and the next attempt marks them again. No other
    computation of events may run between the mark and the write: it would be of the old positions, with the new number.

    `folders`: those that have rows of these dates at the version `snapshot` of STG (`State.folders_of`).
    """
    with_own = (pc.field("event_type") == "message") & (pc.field("position_source") == "own")
    old = last_messages(_batches(lake, EVENTS, dates, _MESSAGE, with_own))
    delivered = (pc.field("event_type") == "message") & pc.field("event_date").isin(as_dates(dates)) & _in_range()
    new = last_messages(_batches(lake, STG_EVENTS, folders, _DELIVERED, delivered, snapshot))
    users = changed_users(old, new)
    if not users:
        return set()
    recorded = [day for day in lake.row_counts(EVENTS) if day > min(users) and day not in dates]
    taker = pc.field("position_source").is_null() | (pc.field("position_source") != "own")
    marked = affected_dates(_batches(lake, EVENTS, recorded, _TAKER, taker), users)
    if marked:
        run_ddl(dsn, "community_refills", DDL)
        with transaction(dsn) as cursor:
            cursor.execute(RAISE, (sorted(marked),))
    return marked


def _in_range() -> pc.Expression:
    lat, lon = pc.field("lat"), pc.field("lon")  # comparisons with NaN and null are not true
    return (lat >= -90.0) & (lat <= 90.0) & (lon >= -180.0) & (lon <= 180.0)


def last_messages(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """The last located message of each user on each date, from located messages; a row that is there twice counts once.

    Columns: event_date, user_id, event_time, message_id, lat, lon.
    """
    found: list[pa.Table] = []
    for batch in batches:
        if batch.num_rows:
            found.append(_last(pa.Table.from_batches([batch]).select(_MESSAGE)))
    return _last(pa.concat_tables(found, promote_options="permissive")) if found else pa.table({})


def _last(rows: pa.Table) -> pa.Table:
    numbers = {name: _number(rows[name]) for name in ("event_date", "user_id", "event_time", "lat", "lon")}
    known = np.asarray(rows["message_id"].is_valid())
    ids = rows["message_id"].fill_null(0).to_numpy()
    # The last key is the first one to sort by; null is smaller than any number.
    order = np.lexsort(
        (numbers["lon"], numbers["lat"], ids, known, numbers["event_time"], numbers["user_id"], numbers["event_date"])
    )
    user, day = numbers["user_id"][order], numbers["event_date"][order]
    ends = np.append((user[1:] != user[:-1]) | (day[1:] != day[:-1]), True)
    return rows.take(pa.array(order[ends]))


def _number(values: pa.ChunkedArray) -> np.ndarray:
    """Dates as days, and times as microseconds."""
    if pa.types.is_date(values.type):
        values = values.cast(pa.int32())
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    found: np.ndarray = values.to_numpy()
    return found


def changed_users(old: pa.Table, new: pa.Table) -> dict[str, pa.Array]:
    """Date -> the users whose last located message differs; dates without one are absent."""
    both = [one.cast(_TYPES) for one in (old, new) if one.num_rows]
    if not both:
        return {}
    counted = pa.concat_tables(both).group_by(_MESSAGE).aggregate([([], "count_all")])
    differing = counted.filter(pc.equal(counted["count_all"], 1)).select(_KEY)
    days = differing["event_date"].unique().to_pylist()
    return {
        day.isoformat(): differing.filter(pc.equal(differing["event_date"], day))["user_id"].unique()
        for day in sorted(days)
    }


_TYPES = pa.schema(
    {
        "event_date": pa.date32(), "user_id": pa.int64(), "event_time": pa.timestamp("us", "UTC"), "message_id": pa.int64(),
        "lat": pa.float64(), "lon": pa.float64(),
    }
)  # fmt: skip


def affected_dates(takers: Iterable[pa.RecordBatch], users: Mapping[str, pa.Array]) -> set[str]:
    """The dates of the events that may take other coordinates.

    `takers`: events without coordinates of their own, as they were computed, with event_date, user_id, position_source and
    position_date. `users`: `changed_users`. An event keeps what it took from a message after the change.
    """
    found: set[str] = set()
    for batch in takers:
        for day, changed in users.items():
            moment = pa.scalar(date.fromisoformat(day))
            after = batch.filter(pc.greater(batch["event_date"], moment))
            mine = after.filter(pc.is_in(after["user_id"], changed))
            kept = pc.and_(
                pc.fill_null(pc.equal(mine["position_source"], "earlier_message"), False),
                pc.fill_null(pc.greater(mine["position_date"], moment), False),
            )
            dates = mine.filter(pc.invert(kept))["event_date"].unique()
            found |= {one.isoformat() for one in dates.to_pylist()}
    return found


def _batches(
    lake: Lake,
    table: Table,
    keys: Collection[str],
    columns: list[str] | dict[str, pc.Expression],
    where: pc.Expression,
    version: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of these partitions, in batches; nothing if there is no table."""
    if keys:
        of_keys = pc.field(table.partition_by[0]).isin(as_dates(keys))
        yield from batches(table.uri(lake.settings), columns, of_keys & where, version, prune_to(table, keys))
