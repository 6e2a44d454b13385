"""What the collector accepts, and what it writes to Kafka. Validation is msgspec's."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from shop_streams import topics
from shop_streams.topics import Topic

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class TrackedEvent(msgspec.Struct):
    """Body of `POST /track`."""

    user_id: Int32
    app_name: Text
    event_category: Text
    event_action: str | None = None
    event_value: Int32 | None = None
    event_id: uuid.UUID | None = None


class StoredEvent(msgspec.Struct):
    """A record of the topic `events`."""

    event_id: str
    event_time: datetime
    user_id: int
    app_name: str
    event_category: str
    event_action: str | None
    event_value: int | None


class ShopEvent(msgspec.Struct):
    """Body of `POST /shop-events`, and a record of the topic `shop_events`."""

    event_type: Literal["view", "buy"]
    category: Text
    item_id: Text
    item_price: Int64
    uid: str | None
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
    event_id: uuid.UUID | None = None


Record = tuple[str, bytes | None, bytes]
"""event_id, Kafka key, Kafka value."""

_encode = msgspec.json.Encoder().encode


def store_event(event: TrackedEvent) -> Record:
    """The record of a tracked event: event_time is now, the key is the user."""
    event_id = str(event.event_id or uuid.uuid4())
    stored = StoredEvent(
        event_id, datetime.now(UTC), event.user_id, event.app_name, event.event_category, event.event_action,
        event.event_value,
    )  # fmt: skip
    return event_id, b"%d" % event.user_id, _encode(stored)


def store_shop_event(event: ShopEvent) -> Record:
    """The record of a shop event, in the same form that other producers write; the key is the visitor."""
    event.event_id = event.event_id or uuid.uuid4()
    return str(event.event_id), event.uid.encode() if event.uid else None, _encode(event)


@dataclass(frozen=True)
class Door:
    """One endpoint: where its events go, how a body becomes an event or a list of them, and an event a record."""

    path: str
    topic: Topic
    decode_one: Callable[[bytes], Any]
    decode_many: Callable[[bytes], list[Any]]
    store: Callable[[Any], Record]


def _door(path: str, topic: Topic, model: type, store: Callable[[Any], Record]) -> Door:
    many = list[model]  # type: ignore[valid-type]
    return Door(path, topic, msgspec.json.Decoder(model).decode, msgspec.json.Decoder(many).decode, store)


DOORS = (
    _door("/track", topics.EVENTS, TrackedEvent, store_event),
    _door("/shop-events", topics.SHOP_EVENTS, ShopEvent, store_shop_event),
)
