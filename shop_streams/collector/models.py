"""What the collector accepts, and what it writes to Kafka. It uses the streams' rules."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from shop_streams.defs.app_events.rules import TRACKED_EVENT, StoredEvent, TrackedEvent
from shop_streams.defs.app_events.schema import EVENTS_TOPIC
from shop_streams.defs.sales.rules import SHOP_EVENT, ShopEvent
from shop_streams.defs.sales.schema import SHOP_EVENTS_TOPIC
from shop_streams.rules import Refused, Rules, times_at
from shop_streams.topics import Topic

Record = tuple[str, bytes | None, bytes]
"""event_id, Kafka key, Kafka value."""

_encode = msgspec.json.Encoder().encode


def store_event(event: TrackedEvent) -> Record:
    """The record of a tracked event: event_time is now, the key is the user."""
    event_id = event.event_id or str(uuid.uuid4())
    stored = StoredEvent(
        datetime.now(UTC), event.user_id, event.app_name, event.event_category, event.event_action, event.event_value,
        event_id,
    )  # fmt: skip
    return event_id, b"%d" % event.user_id, _encode(stored)


def store_shop_event(event: ShopEvent) -> Record:
    """The record of a shop event, in the same form that other producers write; the key is the visitor."""
    event.event_id = event.event_id or str(uuid.uuid4())
    return event.event_id, event.uid.encode() if event.uid else None, _encode(event)


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: its path and topic, how to decode a body with one event or an array, and how to make an event's record.

    Both decoders raise msgspec.ValidationError: every broken rule, in a limited length, and the field at the end.
    """

    path: str
    topic: Topic
    decode_one: Callable[[bytes], Any]
    decode_many: Callable[[bytes], list[Any]]
    store: Callable[[Any], Record]


_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _endpoint(path: str, topic: Topic, rules: Rules, store: Callable[[Any], Record], first_day: date) -> Endpoint:
    decode = rules.decoder()

    def one(body: bytes, path_in_body: str = "$") -> Any:
        try:
            return rules.validate(body, times_at(first_day, datetime.now(UTC)), decode)
        except Refused as refused:
            name = refused.problems[0][0]
            at = path_in_body if name == "body" else f"{path_in_body}.{name}"
            raise msgspec.ValidationError(f"{refused} - at `{at}`") from refused

    def many(body: bytes) -> list[Any]:
        return [one(bytes(raw), f"$[{number}]") for number, raw in enumerate(_split(body))]

    return Endpoint(path, topic, one, many, store)


def endpoints(first_day: date) -> tuple[Endpoint, ...]:
    """The endpoints, for events from `first_day` on."""
    return (
        _endpoint("/track", EVENTS_TOPIC, TRACKED_EVENT, store_event, first_day),
        _endpoint("/shop-events", SHOP_EVENTS_TOPIC, SHOP_EVENT, store_shop_event, first_day),
    )
