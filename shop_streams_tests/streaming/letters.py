"""Dead letters of the tests of drafts and replays."""

from datetime import UTC, datetime
from typing import Any

from shop_streams.streaming.drafts import Letter

DOMAINS = ("app_events", "promotions", "sales")


def letter(
    offset: int, raw: bytes | None = b"v", reason: str = "item_price is missing", domain: str = "sales", **more: Any
) -> Letter:
    return {
        "domain": domain, "topic": f"topic_{domain}", "kafka_partition": 0, "kafka_offset": offset, "raw": raw,
        "reason": reason, "at": datetime.now(UTC), "key": None, "headers": None, **more,
    }  # fmt: skip
