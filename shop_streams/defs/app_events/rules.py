"""The rules of product events: as a body of `POST /track`, and as the record that the collector writes."""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from shop_streams.rules import Int32, Rules, Text, Times, Uuid, check_time, microseconds

COLLECTED_SINCE = date(2025, 1, 1)  # the collector sets the event time: none is older than the project
_SINCE = microseconds(datetime(COLLECTED_SINCE.year, COLLECTED_SINCE.month, COLLECTED_SINCE.day))


class TrackedEvent(msgspec.Struct):
    """Body of `POST /track`."""

    user_id: Int32
    app_name: Text
    event_category: Text
    event_action: str | None = None
    event_value: Int32 | None = None
    event_id: Uuid | None = None


class StoredEvent(msgspec.Struct):
    """A record of the topic `events`."""

    event_time: datetime
    user_id: Int32
    app_name: Text
    event_category: Text
    event_action: str | None = None
    event_value: Int32 | None = None
    event_id: Uuid | None = None


def check_event_time(moment: datetime, times: Times) -> str | None:
    """The collector sets this time, but another producer may write any time."""
    if times.first <= microseconds(moment) < _SINCE:
        return f"is before {COLLECTED_SINCE}, when there was no collector"
    return check_time(microseconds(moment), times)


TRACKED_EVENT = Rules(TrackedEvent, ids=("event_id",))
STORED_EVENT = Rules(StoredEvent, {"event_time": check_event_time}, ids=("event_id",))
