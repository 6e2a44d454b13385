"""Made-up events of community, and what is expected of them: plain Python, without an import of the code under test."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.community.schema import EVENTS, STG_EVENTS, USER_FACTS
from shop_streams.lake.table import Table

FIRST = date(2026, 1, 30)
Place = tuple[float | None, float | None]
NOWHERE: Place = (None, None)


@dataclass(frozen=True)
class Event:
    """One delivered row. `number` is its content: two rows with the same one are the same event."""

    number: int
    at: datetime
    user: int = 1
    kind: str = "message"
    place: Place = NOWHERE
    message_id: int | None = None
    other: int | None = None  # the addressee of a message, the channel of a subscription
    channel: int | None = None  # that a message is written to

    @property
    def event_id(self) -> str:
        return f"{self.number:08x}"

    @property
    def day(self) -> date:
        return self.at.date()

    @property
    def located(self) -> bool:
        lat, lon = self.place
        return lat is not None and lon is not None and abs(lat) <= 90 and abs(lon) <= 180  # False for NaN

    @property
    def is_position(self) -> bool:
        return self.located and self.kind == "message"

    @property
    def order(self) -> Any:
        return self.at, self.message_id is not None, self.message_id, self.place


Located = tuple[float | None, float | None, str | None, date | None]
"""lat, lon, position_source, position_date"""


def positions_of(events: Iterable[Event]) -> dict[int, Located]:
    """Number of an event -> its coordinates, from all events of all dates."""
    every = {one.number: one for one in events}.values()
    found: dict[int, Located] = {}
    for one in every:
        if one.located:
            found[one.number] = (*one.place, "own", None)
            continue
        mine = sorted((m for m in every if m.user == one.user and m.is_position), key=lambda m: m.order)
        before = [m for m in mine if m.at <= one.at]
        after = [m for m in mine if m.at > one.at and m.day == one.day]
        if before:
            found[one.number] = (*before[-1].place, "earlier_message", before[-1].day)
        elif after:
            found[one.number] = (*after[0].place, "later_message", after[0].day)
        else:
            found[one.number] = (None, None, None, None)
    return found


def kilometres(lat: float, lng: float, other_lat: float, other_lng: float) -> float:
    one, other = math.radians(lat), math.radians(other_lat)
    turn = math.radians(other_lng - lng)
    half = math.sin((other - one) / 2) ** 2 + math.cos(one) * math.cos(other) * math.sin(turn / 2) ** 2
    return 2 * 6371 * math.asin(min(1.0, math.sqrt(half)))


def nearest_of(cities: Sequence[tuple[int, float, float]], lat: float, lon: float) -> int:
    """By comparison with every city (id, lat, lng)."""
    far = {number: kilometres(lat, lon, *where) for number, *where in cities}
    return min(number for number, distance in far.items() if distance <= min(far.values()) + 0.001)


def rows_of(
    events: Iterable[Event], cities: Sequence[tuple[int, float, float]], dates: Collection[date]
) -> dict[str, dict[str, Any]]:
    """Event id -> the expected row of EVENTS, of these dates."""
    every = list(events)
    positions = positions_of(every)
    found = {}
    for one in every:
        if one.day in dates:
            lat, lon, source, day = positions[one.number]
            found[one.event_id] = {
                "event_id": one.event_id, "event_type": one.kind, "user_id": one.user, "event_time": one.at,
                "zone_id": None if lat is None or lon is None else nearest_of(cities, lat, lon),
                "lat": lat, "lon": lon, "position_source": source, "position_date": day,
                "message_id": one.message_id if one.kind in ("message", "reaction") else None,
                "message_to": one.other if one.kind == "message" else None,
                "channel": {"message": one.channel, "subscription": one.other}.get(one.kind), "event_date": one.day,
            }  # fmt: skip
    return found


def ddl(table: Table, *without: str) -> str:
    return ", ".join(f"{one.name} {one.type}" for one in table.columns if one.name not in without)


def stg_frame(spark: SparkSession, events: Iterable[Event]) -> DataFrame:
    """Rows of STG_EVENTS. Every number of the raw event is filled, so that a wrong one would be seen."""
    rows = []
    for number, one in enumerate(events):
        raw = {
            "admins": None, "channel_id": 11, "datetime": None, "media": None, "message": "m", "message_channel_to":
            one.channel, "message_from": 12, "message_group": 13, "message_id": one.message_id, "message_to": one.other,
            "message_ts": None, "reaction_from": "14", "reaction_type": None, "subscription_channel": one.other,
            "subscription_user": "15", "tags": None, "user": "16",
        }  # fmt: skip
        rows.append(
            (raw, one.kind, *one.place, one.event_id, one.user, one.at, one.day, f"f{number}", 1, one.day, None)
        )
    return spark.createDataFrame(rows, ddl(STG_EVENTS))


def facts_frame(spark: SparkSession, facts: Iterable[tuple[Any, ...]]) -> DataFrame:
    return spark.createDataFrame(list(facts), ddl(USER_FACTS, "month", "source_rows"))


def position_facts(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """The last located message of each user, as USER_FACTS has it; with a zone that is none, because nobody may use it."""
    last: dict[int, Event] = {}
    for one in sorted((one for one in events if one.is_position), key=lambda one: one.order):
        last[one.user] = one
    return [("position", one.user, None, one.at, one.message_id, *one.place, -1) for one in last.values()]


def found_rows(frame: DataFrame) -> dict[str, dict[str, Any]]:
    """Event id -> row, as `rows_of` gives it."""
    rows = [row.asDict() for row in frame.collect()]
    assert len({row["event_id"] for row in rows}) == len(rows), "each event once"
    return {row["event_id"]: row | {"event_time": row["event_time"].astimezone(UTC)} for row in rows}


PLACES: list[Place] = [
    (10.0, 10.0), (10.0, 20.0), (-33.8, 151.2), (90.0, 0.0), (0.0, 180.0), (0.0, -180.0), NOWHERE, NOWHERE, NOWHERE,
    NOWHERE, NOWHERE, (math.nan, 1.0), (1.0, math.nan), (None, 1.0), (91.0, 1.0), (1.0, -180.5), (math.inf, 0.0),
]  # fmt: skip


def random_events(random: Random, count: int, users: int = 3, days: int = 4, first_number: int = 0) -> list[Event]:
    """Events at few moments of few users, so that ties are frequent."""
    found = []
    for number in range(first_number, first_number + count):
        start = datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(days=random.randrange(days))
        found.append(
            Event(
                number,
                start + timedelta(hours=random.choice([0, 6, 12, 18]), microseconds=random.choice([0, 0, 0, 1])),
                random.randrange(1, users + 1),
                random.choice(["message", "message", "message", "reaction", "registration", "subscription"]),
                random.choice(PLACES),
                random.choice([None, 1, 2, 2, 2**40]),
                random.choice([None, 1, 2, 3]),
                random.choice([None, 7, 8]),
            )
        )
    return found


EVENT_NAMES = [column.name for column in EVENTS.columns if column.name != "source_rows"]
