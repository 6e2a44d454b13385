"""Product events: 6 users, 3 products, 4 actions (one is null), 3 categories."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

ENDPOINT = "/track"
APPS = ("web_shop", "mobile_app", "partner_site")
CATEGORIES = ("navigation", "checkout", "content")
ACTIONS = ("page_view", "button_click", "scroll", None)
VALUES = (37, 8, 5, 12, 54, None)


def events(count: int, seed: int, start: datetime) -> Iterator[dict[str, Any]]:
    """`count` bodies for `POST /track`. `start` has no effect: the collector sets the time of these events."""
    source = random.Random(seed)
    del start
    for _ in range(count):
        yield {
            "user_id": source.randint(1, 6),
            "app_name": source.choice(APPS),
            "event_category": source.choice(CATEGORIES),
            "event_action": source.choice(ACTIONS),
            "event_value": source.choice(VALUES),
            "event_id": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        }
