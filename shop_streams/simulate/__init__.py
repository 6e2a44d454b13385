"""Deterministic traffic of each domain, sent through its real endpoint. The same seed makes the same events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from shop_streams.settings import Settings
from shop_streams.simulate.send import post

Send = Callable[[Settings, int, int, datetime, float | None], int]
"""(settings, count, seed, start, events a second or None for no limit) -> the number of acknowledged events."""


def _sender(module: Any) -> Send:
    """The module's own `send`, or POST requests of its `events` to its `ENDPOINT`."""
    if hasattr(module, "ENDPOINT"):
        return lambda settings, count, seed, start, rate: post(
            settings, module.ENDPOINT, module.events(count, seed, start), count, rate
        )
    own: Send = module.send
    return own


DOMAINS = {
    name: _sender(import_module(f"{__name__}.{name}")) for _, name, _ in iter_modules(__path__) if name != "send"
}
"""Domain -> how its traffic is sent. A module of this folder with the domain's name is enough."""
