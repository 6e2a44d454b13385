"""Product events of the tests, as the collector writes them to the topic."""

import json
import time
from typing import Any

EVENT: dict[str, Any] = {
    "event_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "user_id": 1, "app_name": "a", "event_category": "c",
}  # fmt: skip
REFUSED: list[tuple[bytes | None, str]] = [  # and words of the reason
    (json.dumps(EVENT | {"user_id": 2**31}).encode(), "user_id is wrong"),
    (json.dumps(EVENT | {"user_id": None, "app_name": ""}).encode(), "user_id is missing; app_name is empty"),
    (json.dumps(EVENT | {"event_id": "x"}).encode(), "event_id is not a UUID"),
    (json.dumps(EVENT | {"event_time": "2100-01-01T00:00:00Z"}).encode(), "event_time is more than an hour ahead"),
    (json.dumps(EVENT | {"event_time": "yesterday"}).encode(), "event_time is wrong"),
]
