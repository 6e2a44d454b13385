"""Raw rows for examples, in few words, and what the oracle makes of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from shop_streams_tests.defs.community import oracle
from shop_streams_tests.defs.community.oracle import Raw, Row, Valid

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
DAY = date(2026, 7, 1)
CITIES = oracle.read_cities(
    "\ufeffid;city;lat;lng;timezone\r\n"
    "1;Sydney;-33,865;151,2094;Australia/Sydney\r\n"
    "2;Melbourne;-37,8136;144,9631;Australia/Melbourne\r\n"
    "7;Adelaide;-34,9289;138,6011;Australia/Adelaide\r\n".encode()
)
SYDNEY, MELBOURNE, ADELAIDE, NOWHERE = (-33.86, 151.2), (-37.8, 144.9), (-34.9, 138.6), (None, None)


def event(what: str, user: int, time: str, where: tuple[float | None, float | None] = NOWHERE, **more: Any) -> Row:
    who = {"message": "message_from", "reaction": "reaction_from"}.get(what, "user")
    given = {"event": {who: user, "datetime": time, **more}, "event_type": what}
    return given | dict(zip(("lat", "lon"), where, strict=True))


def valid(*rows: Any) -> list[Valid]:
    found, refused = oracle.verdicts([Raw("f", line, DAY, row) for line, row in enumerate(rows, 1)], NOW)
    assert not refused
    return found


def dds(*rows: Row) -> list[Row]:
    return oracle.dds(valid(*rows), CITIES)


def subscribed(user: int, channel: int, time: str = "2026-01-01 10:00:00") -> Row:
    return event("subscription", user, time, subscription_channel=channel)
