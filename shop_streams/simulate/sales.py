"""A day of the shop: views and purchases, whose number depends on the hour."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise, repeat
from typing import Any

ENDPOINT = "/shop-events"
CATEGORIES = ("garden", "kitchen", "toys", "books", "sports")
ITEMS = 300
VISITORS = 2_000
BUY_SHARE = 0.06
ANONYMOUS_SHARE = 0.15


def yesterday() -> datetime:
    """Midnight, UTC, at the beginning of yesterday: the newest day that is over."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def _hour_weight(hour: int) -> float:
    """A shop's day: quiet at 4, busiest at 20."""
    return 1.0 + 0.85 * math.cos((hour - 20) / 24 * 2 * math.pi)


def _hours(count: int, first: int) -> Iterator[int]:
    """`count` hours, ascending, of a day that begins at hour `first`; each hour comes in proportion to its weight."""
    weights = [_hour_weight((first + hour) % 24) for hour in range(24)]
    shares = [round(count * share / sum(weights)) for share in accumulate(weights, initial=0.0)]
    for hour, (begin, end) in enumerate(pairwise(shares)):
        yield from repeat(hour, end - begin)


def events(count: int, seed: int, start: datetime) -> Iterator[dict[str, Any]]:
    """`count` bodies for `POST /shop-events`, spread over the 24 hours that begin at `start`; ordered by hour, but not within an hour."""
    source = random.Random(seed)
    base = int(start.timestamp() * 1000)
    for hour in _hours(count, start.hour):
        item = source.randrange(ITEMS)
        yield {
            "event_type": "buy" if source.random() < BUY_SHARE else "view",
            "category": CATEGORIES[item % len(CATEGORIES)],
            "item_id": f"item-{item:04d}",
            "item_price": 100 + (item * 7919) % 9_900,
            "uid": None if source.random() < ANONYMOUS_SHARE else f"visitor-{source.randrange(VISITORS):05d}",
            "timestamp": base + hour * 3_600_000 + source.randrange(3_600_000),
        }
