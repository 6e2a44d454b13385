"""The marts in plain Python, from events as they were delivered: what the specification says, as slowly as it reads."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import combinations, groupby
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)


class City(NamedTuple):
    zone_id: int
    city: str
    lat: float
    lon: float
    timezone: str


CITIES = (
    City(1, "Sydney", -33.865, 151.2094, "Australia/Sydney"),
    City(3, "Brisbane", -27.4678, 153.0281, "Australia/Brisbane"),
    City(4, "Perth", -31.9522, 115.8589, "Australia/Perth"),
    City(12, "Hobart", -42.8806, 147.325, "Australia/Hobart"),
)


@dataclass(frozen=True)
class Event:
    """A delivered event, its time in UTC. `place` is where it is counted, once that is known."""

    user: int
    time: datetime
    type: str
    lat: float | None = None
    lon: float | None = None
    message_id: int | None = None
    message_to: int | None = None
    channel: int | None = None
    place: tuple[float, float] | None = None
    source: str | None = None

    @property
    def day(self) -> date:
        return self.time.date()

    @property
    def is_located_message(self) -> bool:
        return self.type == "message" and self.lat is not None

    @property
    def zone(self) -> int | None:
        return None if self.place is None else zone_of(self.place)

    @property
    def order(self) -> tuple[Any, ...]:
        """Nulls first."""
        return (
            self.time,
            self.type,
            *[(value is not None, value or 0) for value in (self.message_id, self.lat, self.lon)],
        )


@cache
def zone_of(place: tuple[float, float]) -> int:
    return min(CITIES, key=lambda city: distance(place, (city.lat, city.lon))).zone_id


def distance(one: Any, other: Any) -> float:
    """km, by the haversine formula."""
    (lat_1, lon_1), (lat_2, lon_2) = (map(math.radians, point) for point in (one, other))
    square = math.sin((lat_2 - lat_1) / 2) ** 2
    square += math.cos(lat_1) * math.cos(lat_2) * math.sin((lon_2 - lon_1) / 2) ** 2
    return 2 * 6371 * math.asin(math.sqrt(square))


def located(events: Iterable[Event], until: Callable[[Event], date]) -> list[Event]:
    """The events, each at its place: its own, that of the user's last located message, or of the first one after it."""
    found = []
    for mine in by_user(events).values():
        messages = [event for event in mine if event.is_located_message]
        for event in mine:
            before = [one for one in messages if one.time <= event.time]
            after = [one for one in messages if one.time > event.time and one.day <= until(event)]
            if event.lat is not None:
                origin, source = event, "own"
            elif before:
                origin, source = before[-1], "earlier_message"
            elif after:
                origin, source = after[0], "later_message"
            else:
                found.append(event)
                continue
            assert origin.lat is not None and origin.lon is not None
            found.append(replace(event, place=(origin.lat, origin.lon), source=source))
    return found


def by_user(events: Iterable[Event]) -> dict[int, list[Event]]:
    """Each user's events in their order."""
    found: dict[int, list[Event]] = {}
    for event in sorted(events, key=lambda event: event.order):
        found.setdefault(event.user, []).append(event)
    return found


def dds(events: Iterable[Event]) -> list[Event]:
    """The events as the table EVENTS has them."""
    return located(events, lambda event: event.day)


def city_of(zone: int | None) -> City | None:
    return next((city for city in CITIES if city.zone_id == zone), None)


def clock(time: datetime, city: City) -> datetime:
    """What a clock in the city shows."""
    return time.replace(tzinfo=UTC).astimezone(ZoneInfo(city.timezone)).replace(tzinfo=None)


def users_mart(events: list[Event], start: date, end: date) -> list[dict[str, Any]]:
    """Rows of users_mart of the dates `start` to `end`."""
    here = located([event for event in events if event.day <= end], lambda _: end)
    rows = []
    for user, mine in by_user(event for event in here if event.day >= start).items():
        stays = [list(stay) for _, stay in groupby([one for one in mine if one.zone], key=lambda event: event.zone)]
        ends = [*[stay[0].time for stay in stays], datetime.combine(end, datetime.min.time()) + DAY][1:]
        cities = [city.city for stay in stays if (city := city_of(stay[0].zone))]
        homes = [c for c, stay, left in zip(cities, stays, ends, strict=True) if left - stay[0].time > 27 * DAY]
        messages = [event for event in mine if event.type == "message"]
        city = city_of(messages[-1].zone) if messages else None
        rows.append({
            "user_id": user,
            "act_city": city and city.city,
            "travel_count": len(cities),
            "travel_array": cities,
            "home_city": homes[-1] if homes else None,
            "local_time": city and clock(mine[-1].time, city),
            "calculation_date": end,
        })  # fmt: skip
    return rows


def zones_mart(events: list[Event], start: date, end: date) -> list[dict[str, Any]]:
    """Rows of zones_mart of the dates `start` to `end`."""
    here = located([event for event in events if event.day <= end], lambda _: end)
    counted = [(event.type, event) for event in here if event.type != "registration"]
    for mine in by_user(here).values():
        ways = [[event for event in mine if event.type == kind] for kind in ("registration", "message")]
        counted += [("user", events_of_kind[0]) for events_of_kind in [way for way in ways if way][:1]]
    days = [start + number * DAY for number in range((end - start).days + 1)]
    return [
        {
            "month": month,
            "week": week,
            "zone_id": city.zone_id,
            **{
                f"{period}_{kind}": sum(
                    what == kind and event.zone == city.zone_id and begin_of(event.day) == begin
                    for what, event in counted
                )
                for period, begin, begin_of in (("week", week, monday), ("month", month, first_of_month))
                for kind in ("message", "reaction", "subscription", "user")
            },
            "calculation_date": end,
        }
        for month, week in sorted({(first_of_month(day), monday(day)) for day in days})
        for city in CITIES
    ]


def monday(day: date) -> date:
    return next(day - number * DAY for number in range(7) if (day - number * DAY).isoweekday() == 1)


def first_of_month(day: date) -> date:
    return date(day.year, day.month, 1)


def friends_mart(events: list[Event], start: date, end: date, processed: datetime) -> list[dict[str, Any]]:
    """Rows of friend_recommendations of the dates `start` to `end`; `processed` is UTC."""
    here = located([event for event in events if event.day <= end], lambda _: end)
    last = {
        event.user: event
        for event in sorted(here, key=lambda e: e.order)
        if event.type == "message" and event.day >= start
    }
    channels: dict[int, set[int]] = {}
    for event in here:
        if event.type == "subscription" and event.channel is not None:
            channels.setdefault(event.user, set()).add(event.channel)
    wrote = {frozenset((event.user, event.message_to)) for event in here if event.message_to is not None}
    rows = []
    for left, right in combinations(sorted(last), 2):
        a, b = last[left], last[right]
        common = channels.get(left, set()) & channels.get(right, set())
        if common and {left, right} not in wrote and a.place and b.place and distance(a.place, b.place) <= 1:
            city = city_of(a.zone)
            assert city is not None
            rows.append({
                "user_left": left,
                "user_right": right,
                "processed_dttm": processed,
                "zone_id": city.zone_id,
                "local_time": clock(processed, city),
                "calculation_date": end,
            })  # fmt: skip
    return rows
