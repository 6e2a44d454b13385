"""What the clients know was acknowledged, and the values that they and the oracle agree on."""

from dataclasses import dataclass, field
from typing import Any

SALES_DAYS = 6
FIRST_SECOND = 1_546_300_800  # 2019-01-01: days that nobody else of the suite writes to
HOUR = 3600
LARGEST_PRICE = 10**12
ODD: list[dict[str, Any]] = [  # each breaks one rule
    {"item_price": LARGEST_PRICE + 1},
    {"item_price": 9 * 10**18},
    {"item_price": -1},
    {"item_price": "12"},
    {"uid": 12345},
    {"category": ["a", "b"]},
    {"timestamp": 10**17},
]


@dataclass
class Ledger:
    """What the clients know. `tag` marks their events; `tracked`, `sales`, `broken`, `campaigns`, `clicks` (sound ones, in
    the order of a session) and `broken_clicks` (event ids of orders without a readable price) were acknowledged.

    Of (client_id, restaurant_id): `subscriptions` were acknowledged and never taken away, `ever_subscribed` were tried.
    """

    tag: str
    tracked: list[dict[str, Any]] = field(default_factory=list)
    sales: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    campaigns: list[dict[str, Any]] = field(default_factory=list)
    clicks: list[dict[str, Any]] = field(default_factory=list)
    broken_clicks: list[str] = field(default_factory=list)
    subscriptions: list[tuple[str, str]] = field(default_factory=list)
    ever_subscribed: list[tuple[str, str]] = field(default_factory=list)
