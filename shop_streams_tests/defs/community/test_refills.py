"""A late located message marks the later dates that took, or would now take, other coordinates, and no others."""

import tempfile
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.defs.community.refills import affected_dates, changed_users, last_messages, mark_refills, refills
from shop_streams.defs.community.schema import EVENTS, STG_EVENTS
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams_tests.defs.community.events import FIRST, Event, Located, positions_of, random_events
from shop_streams_tests.harness import free_ports
from shop_streams_tests.local.test_database import server

DAYS = [FIRST + timedelta(days=number) for number in range(6)]
A, B = (10.0, 10.0), (10.0, 20.0)

TYPES = pa.schema(
    {
        "event_type": pa.string(), "user_id": pa.int64(), "event_time": pa.timestamp("us", "UTC"), "message_id": pa.int64(),
        "lat": pa.float64(), "lon": pa.float64(), "position_source": pa.string(), "position_date": pa.date32(),
        "event_date": pa.date32(), "folder_date": pa.date32(),
    }
)  # fmt: skip
Row = tuple[Event, Located]


def arrow(rows: Iterable[Row]) -> pa.Table:
    """Events as rows of EVENTS, and of STG where the columns are the same."""
    columns = [
        (e.kind, e.user, e.at, e.message_id, lat, lon, source, day, e.day, e.day) for e, (lat, lon, source, day) in rows
    ]
    return pa.table([list(one) for one in zip(*columns, strict=True)] or [[]] * len(TYPES), schema=TYPES)


def as_delivered(events: Iterable[Event]) -> list[Row]:
    return [(one, (*one.place, None, None)) for one in events]


class Dds:
    """EVENTS as computations left it: date -> its rows."""

    def __init__(self) -> None:
        self.rows: dict[date, list[Row]] = {}

    def compute(self, events: Collection[Event], dates: Collection[date]) -> None:
        """From the rows of these dates, and the located messages of other dates as they are known."""
        known = [e for day, rows in self.rows.items() if day not in dates for e, place in rows if place[2] == "own"]
        mine = [one for one in events if one.day in dates]
        places = positions_of([*known, *mine])
        for day in dates:
            self.rows[day] = [(one, places[one.number]) for one in mine if one.day == day]

    def marked(self, events: Collection[Event], dates: Collection[date]) -> set[date]:
        """The dates that are marked before these are written."""
        old = [
            row for day in dates for row in self.rows.get(day, []) if row[0].kind == "message" and row[1][2] == "own"
        ]
        new = as_delivered(one for one in events if one.day in dates and one.is_position)
        users = changed_users(*(last_messages(arrow(rows).to_batches(max_chunksize=3)) for rows in (old, new)))
        takers = arrow(row for rows in self.rows.values() for row in rows if row[1][2] != "own")
        found = affected_dates(takers.to_batches(max_chunksize=5), users)
        return {date.fromisoformat(day) for day in found} - set(dates)


@given(seed=st.integers(0, 2**32), at_once=st.integers(1, 3), ascending=st.booleans())
@settings(max_examples=150, deadline=None)
def test_with_the_marked_dates_all_dates_are_as_if_computed_anew(seed: int, at_once: int, ascending: bool) -> None:
    """Random late events and deletions; the dates that differ are computed in groups, in any order."""
    random = Random(seed)
    dds, events = Dds(), list[Event]()
    for number, size in enumerate((25, 3, 3, 2, 2)):
        gone = set(random.sample(events, min(len(events), random.choice([0, 0, 1]))))
        new = random_events(random, size, users=3, days=6, first_number=100 * number)
        events, changed = [one for one in events if one not in gone] + new, gone | set(new)
        to_do = {one.day for one in changed}
        while to_do:
            dates = sorted(to_do)[:at_once] if ascending else random.sample(sorted(to_do), min(at_once, len(to_do)))
            to_do |= dds.marked(events, dates)
            dds.compute(events, dates)
            to_do -= set(dates)
        expected = positions_of(events)
        assert {e.number: place for rows in dds.rows.values() for e, place in rows} == expected


def at(day: int, hour: float = 12) -> datetime:
    return datetime.combine(DAYS[day], datetime.min.time(), UTC) + timedelta(hours=hour)


HIS = [Event(1, at(1), place=A), Event(2, at(2)), Event(3, at(4)), Event(4, at(5), place=B), Event(5, at(5))]
# What it is; the events before; the late ones, with the number 9; the dates that are marked when date 0, 1, 2 … is written.
MARKED: list[tuple[str, list[Event], list[Event], dict[int, set[int]]]] = [
    ("a later message of the same date", HIS, [Event(9, at(1, 13), place=B)], {1: {2, 4}}),
    ("of a date between", HIS, [Event(9, at(3), place=B)], {3: {4}}),
    ("an earlier message of the same date", HIS, [Event(9, at(1, 11), place=B)], {1: set()}),
    ("a message before all, which later dates do not need", HIS, [Event(9, at(0), place=B)], {0: set()}),
    ("of another user", HIS, [Event(9, at(3), user=2, place=B)], {3: set()}),
    ("another type", HIS, [Event(9, at(3), kind="reaction", place=B)], {3: set()}),
    ("without valid coordinates", HIS, [Event(9, at(3), place=(91.0, 0.0))], {3: set()}),
    ("a larger message_id at the same time", HIS, [Event(9, at(1), place=B, message_id=1)], {1: {2, 4}}),
    ("a message_id, where the other one has none", HIS, [Event(9, at(1), place=B, message_id=-1)], {1: {2, 4}}),
    ("two late ones: the nearer one counts for each date", HIS, [Event(9, at(1, 13), place=B), Event(8, at(3), place=B)], {1: {2, 4}, 3: {4}}),
    ("unlocated events", [Event(1, at(2)), Event(2, at(3), user=2)], [Event(9, at(1), place=A)], {1: {2}}),
    ("events that took a later message", [Event(1, at(2, 1)), Event(2, at(2, 2), place=B)], [Event(9, at(1), place=A)], {1: {2}}),
    ("events with their own coordinates", [Event(1, at(2), place=B)], [Event(9, at(1), place=A)], {1: set()}),
    ("a row that is delivered again", HIS, [HIS[0]], {1: set()}),
]  # fmt: skip


@pytest.mark.parametrize(("before", "late", "marked"), [case[1:] for case in MARKED], ids=[case[0] for case in MARKED])
def test_which_dates_a_late_message_marks(before: list[Event], late: list[Event], marked: dict[int, set[int]]) -> None:
    dds = Dds()
    dds.compute(before, DAYS)
    for day, others in marked.items():
        assert dds.marked([*before, *late], [DAYS[day]]) == {DAYS[other] for other in others}


def test_a_message_that_is_gone_marks_those_that_took_it() -> None:
    dds = Dds()
    dds.compute(HIS, DAYS)
    assert dds.marked(HIS[1:], [DAYS[1]]) == {DAYS[2], DAYS[4]}
    assert dds.marked(HIS[1:], [DAYS[1], DAYS[2]]) == {DAYS[4]}, "a date of the same computation is right anyway"


def write(lake: Lake, table: Table, rows: Iterable[Row]) -> None:
    found = arrow(rows)
    if table == STG_EVENTS:  # as it was delivered
        event = pa.StructArray.from_arrays([found["message_id"].combine_chunks()], ["message_id"])
        found = found.drop_columns("message_id").append_column("event", event)
    write_deltalake(table.uri(lake.settings), found, mode="overwrite", partition_by=list(table.partition_by))


@pytest.mark.servers
def test_marks_are_numbers_in_postgresql() -> None:
    with tempfile.TemporaryDirectory(prefix="shop streams 5% ") as folder:
        home = Settings(home=Path(folder), postgres_port=free_ports(1)[0])
        with server(home):
            _marks_are_numbers(Lake(home), home.postgres)


def _marks_are_numbers(lake: Lake, dsn: str) -> None:
    days = [day.isoformat() for day in DAYS]
    late = [Event(9, at(1, 13), place=B), Event(8, at(1), user=2, place=A)]
    # The first one is unlocated until user 2 has a message. The others are no located messages, although they are the last.
    others = [Event(10, at(3), user=2), Event(11, at(1, 14), place=(91.0, 0.0)), Event(12, at(1, 15), 1, "reaction", B)]
    before = [*HIS, *others]
    write(lake, STG_EVENTS, as_delivered([*before, *late]))
    assert refills(dsn) == {}
    assert mark_refills(lake, dsn, days[:2], days, 0) == set(), (
        "without the table of events, there is nothing to repair"
    )
    dds = Dds()
    dds.compute(before, DAYS)
    write(lake, EVENTS, [row for rows in dds.rows.values() for row in rows])
    write(lake, STG_EVENTS, as_delivered(before))
    snapshot = lake.version(STG_EVENTS)
    assert snapshot == 1
    assert mark_refills(lake, dsn, [days[1]], days, snapshot) == set() and refills(dsn) == {}, "nothing has changed"
    assert mark_refills(lake, dsn, [days[1]], [days[1]], 0) == {days[2], days[3], days[4]}, "STG at another snapshot"
    assert refills(dsn) == {days[2]: 1, days[3]: 1, days[4]: 1}
    assert mark_refills(lake, dsn, days[1:3], days[1:3], 0) == {days[3], days[4]}
    assert refills(dsn) == {days[2]: 1, days[3]: 2, days[4]: 2}, "marked again, because it may not have been written"
    assert mark_refills(lake, dsn, [days[1]], [], snapshot) == {days[2], days[4]}, "a date that has lost its rows"
