"""The rules of shop events, the same over HTTP and in Kafka. Fields that metrics need are checked; descriptive ones may be null."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from shop_streams.rules import LAST_MILLISECOND, Rules, Times, Uuid, check_time

MAX_PRICE = 10**12

Price = Annotated[int, msgspec.Meta(ge=0, le=MAX_PRICE)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=LAST_MILLISECOND)]


class ShopEvent(msgspec.Struct):
    """Body of `POST /shop-events`, and a record of the topic `shop_events`."""

    event_type: Literal["view", "buy"]
    item_price: Price
    timestamp: Milliseconds
    category: str | None = None
    item_id: str | None = None
    uid: str | None = None
    event_id: Uuid | None = None


def check_timestamp(milliseconds: int, times: Times) -> str | None:
    """Refuse a time that is too old or in the future, as a timestamp in a wrong unit is."""
    return check_time(milliseconds * 1000, times)


SHOP_EVENT = Rules(ShopEvent, {"timestamp": check_timestamp}, ids=("event_id",))
