"""One delivered row: its types, its verdict, and the id of its content.

A row comes from JSON or from Parquet. Both give the same typed row (`Raw`), and so the same `event_id`. values.py says what
a value may be. Fields that are not in the schema are ignored: they are neither stored nor part of the id.
Import nothing heavier than msgspec here: Spark's workers import this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple

import msgspec

from shop_streams.defs.community.schema import EVENT_TYPES
from shop_streams.defs.community.values import LARGEST_ID, Wrong, called, id_of, number_of, text_of, time_of
from shop_streams.rules import Refused, Times, check_time

Id = Annotated[int, msgspec.Meta(ge=-LARGEST_ID - 1, le=LARGEST_ID)]
Problems = list[tuple[str, str]]
ACTING = (
    "message_from",
    "reaction_from",
    "user",
    "subscription_user",
)  # fields with the acting user of some event type


class Media(msgspec.Struct, omit_defaults=True, gc=False):
    """What a message shows."""

    media_type: str | None = None
    src: str | None = None


class Event(msgspec.Struct, omit_defaults=True, gc=False):
    """The event, with the fields of `EVENT_STRUCT` in their order."""

    admins: list[Id | None] | None = None
    channel_id: Id | None = None
    datetime: str | None = None
    media: Media | None = None
    message: str | None = None
    message_channel_to: Id | None = None
    message_from: Id | None = None
    message_group: Id | None = None
    message_id: Id | None = None
    message_to: Id | None = None
    message_ts: str | None = None
    reaction_from: str | None = None
    reaction_type: str | None = None
    subscription_channel: Id | None = None
    subscription_user: str | None = None
    tags: list[str | None] | None = None
    user: str | None = None


class Raw(msgspec.Struct, omit_defaults=True, gc=False):
    """A typed row. Null and absent are the same, null and empty are not."""

    event: Event | None = None
    event_type: str | None = None
    lat: float | None = None
    lon: float | None = None


class Row(NamedTuple):
    """A valid row. `event_time` is in microseconds since 1970, `size` in bytes: that of the row's JSON."""

    raw: Raw
    event_id: str
    user_id: int
    event_time: int
    size: int


Kind = Callable[[Any], Any]
LISTS: dict[str, Kind] = {"admins": id_of, "tags": text_of}
LEAVES: dict[str, Kind] = {
    name: text_of
    if name in ("datetime", "message", "message_ts", "reaction_from", "reaction_type", "subscription_user", "user")
    else id_of
    for name in Event.__struct_fields__
    if name not in ("admins", "tags", "media")
}
OF_A_ROW: dict[str, Kind] = {"event_type": text_of, "lat": number_of, "lon": number_of}


def typed(value: Any) -> tuple[Raw, Problems]:
    """The typed row of a mapping, and a problem for each field that has a wrong type; these fields are null."""
    if not isinstance(value, Mapping):
        return Raw(), [("body", f"is {called(value)}, not an object")]
    problems: Problems = []
    given = _object(value.get("event"), "event", problems) or {}
    event = Event(**{name: _leaf(given.get(name), kind, f"event.{name}", problems) for name, kind in LEAVES.items()})
    for name, kind in LISTS.items():
        setattr(event, name, _list(given.get(name), kind, f"event.{name}", problems))
    media = _object(given.get("media"), "event.media", problems)
    if media is not None:
        names = Media.__struct_fields__
        event.media = Media(*[_leaf(media.get(name), text_of, f"event.media.{name}", problems) for name in names])
    rest = [_leaf(value.get(name), kind, name, problems) for name, kind in OF_A_ROW.items()]
    return Raw(event, *rest), problems


def _object(value: Any, name: str, problems: Problems) -> Mapping[str, Any] | None:
    if value is None or isinstance(value, Mapping):
        return value
    problems.append((name, f"is wrong: {called(value)} where an object belongs"))
    return None


def _list(value: Any, kind: Kind, name: str, problems: Problems) -> list[Any] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        problems.append((name, f"is wrong: {called(value)} where a list belongs"))
        return None
    return [_leaf(one, kind, f"{name}[{number}]", problems) for number, one in enumerate(value)]


def _leaf(value: Any, kind: Kind, name: str, problems: Problems) -> Any:
    if value is None:
        return None
    try:
        return kind(value)
    except Wrong as wrong:
        problems.append((name, str(wrong)))
        return None


def validate(raw: Raw, times: Times, problems: Problems | None = None) -> Row:
    """The valid row of a typed one. Coordinates that are no numbers become null.

    `problems` are those that typing has found; their fields are not named again.

    Raises:
        Refused: with every reason.
    """
    found: Problems = []
    event = raw.event or Event()
    name, given = _acting(raw.event_type, event)
    user = None
    if raw.event_type is None:
        found.append(("event_type", "is missing"))
    elif raw.event_type not in EVENT_TYPES:
        found.append(("event_type", f"is none of {', '.join(EVENT_TYPES)}"))
    elif given is None:
        found.append((name, "is missing"))
    else:
        try:
            user = given if type(given) is int else id_of(given)
        except Wrong as wrong:
            found.append((name, str(wrong)))
    name, moment = "event.datetime", event.datetime
    if moment is None and event.message_ts is not None:
        name, moment = "event.message_ts", event.message_ts
    at = None if moment is None else time_of(moment)
    if at is None:
        found.append((name, "is missing" if moment is None else "is no time like 2026-01-31 23:59:59"))
    elif words := check_time(at, times):
        found.append((name, words))
    if found or problems:
        named = {name for name, _ in problems or []}
        unknown = "body" in named
        new = [one for one in found if not (unknown or one[0] in named or one[0].split(".")[0] in named)]
        raise Refused([*(problems or []), *new])
    assert user is not None and at is not None
    raw.lat, raw.lon = _coordinate(raw.lat), _coordinate(raw.lon)
    content = msgspec.json.encode(raw)
    return Row(raw, id_of_content(content), user, at, len(content))


def _acting(event_type: str | None, event: Event) -> tuple[str, int | str | None]:
    """The field of the acting user, and its value."""
    if event_type == "message":
        return "event.message_from", event.message_from
    if event_type == "reaction":
        return "event.reaction_from", event.reaction_from
    if event_type == "subscription" and event.user is None and event.subscription_user is not None:
        return "event.subscription_user", event.subscription_user
    return "event.user", event.user


def acting_ids(raw: Raw) -> list[int]:
    """Every id in a field of an acting user, also of a refused row. It may have several, of one that names no type of event."""
    found = []
    for name in ACTING:
        with suppress(Wrong):
            if (given := getattr(raw.event, name, None)) is not None and (one := id_of(given)) is not None:
                found.append(one)
    return found


def moment_of(event: Event | None) -> int | None:
    """The event time in microseconds since 1970; None if there is none that can be read."""
    event = event or Event()
    moment = event.message_ts if event.datetime is None else event.datetime
    return None if moment is None else time_of(moment)


def _coordinate(value: float | None) -> float | None:
    return value + 0.0 if value is not None and math.isfinite(value) else None  # -0.0 becomes 0.0


def event_id(raw: Raw) -> str:
    """The id of a row's content."""
    return id_of_content(msgspec.json.encode(raw))


def id_of_content(content: bytes) -> str:
    """128 bits of BLAKE2b over the row's JSON, as 32 hex digits.

    The JSON is written in one way: fields in the order of the schema, without those that are null and without spaces, text in
    UTF-8, coordinates with the fewest digits that give the same double. A field that the schema gets later does not change
    the ids of rows without it.
    """
    return blake2b(content, digest_size=16).hexdigest()
