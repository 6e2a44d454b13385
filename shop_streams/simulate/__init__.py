"""Deterministic traffic of each domain, sent through its real door. The same seed makes the same events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shop_streams.simulate import app_events, sales


@dataclass(frozen=True)
class Traffic:
    """One domain's events, and the path of the collector's door that takes them."""

    path: str
    events: Callable[..., object]


DOMAINS = {
    "app_events": Traffic("/track", app_events.events),
    "sales": Traffic("/shop-events", sales.events),
}
