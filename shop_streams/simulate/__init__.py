"""Deterministic traffic of each domain, sent through its real endpoint. The same seed makes the same events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from shop_streams.settings import Settings
from shop_streams.simulate import app_events, promotions, sales
from shop_streams.simulate.send import send

Send = Callable[[Settings, int, int, datetime, float | None], int]
"""(settings, count, seed, start, events a second or None for no limit) -> the number of acknowledged events."""


def _over_http(path: str, events: Callable[[int, int, datetime], Iterable[dict[str, Any]]]) -> Send:
    return lambda settings, count, seed, start, rate: send(settings, path, events(count, seed, start), count, rate)


DOMAINS: dict[str, Send] = {
    "app_events": _over_http(app_events.ENDPOINT, app_events.events),
    "sales": _over_http(sales.ENDPOINT, sales.events),
    "promotions": promotions.send,
}
