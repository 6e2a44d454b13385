"""Records in, rows out."""

import itertools
import json
import uuid
from typing import Any

from shop_streams.defs.app_events import transforms
from shop_streams.spark import open_session
from shop_streams_tests.harness import Stack


def test_nothing_that_is_accepted_throws_later(stack: Stack) -> None:
    """The ends of every field's type through the rows and the enrichment."""
    ends: dict[str, list[Any]] = {
        "event_time": ["2025-01-01T00:00:00Z", "2025-01-01T02:00:00+02:00", "2025-06-01T00:00:00.999999999Z"],
        "user_id": [-(2**31), 2**31 - 1], "app_name": ["x", "a\0b"], "event_category": ["\U0001f600"],
        "event_action": [None, "", "x" * 100_000], "event_value": [None, -(2**31), 2**31 - 1], "event_id": [None, str(uuid.UUID(int=5)).upper()],
    }  # fmt: skip
    values = [json.dumps(dict(zip(ends, one, strict=True))).encode() for one in itertools.product(*ends.values())]
    records = open_session(stack.settings).createDataFrame(
        [(bytearray(value), number) for number, value in enumerate(values)], "value binary, offset bigint"
    )
    records = records.selectExpr("'t' topic", "0 partition", "offset", "current_timestamp() timestamp", "value")
    validated = transforms.validate(records, "2015-01-01")
    assert validated.where("reason is not null").count() == 0
    events = transforms.project(validated)
    assert events.count() == len(values)
    found = transforms.enrich(transforms.without_repeats(events, events.where("false"))).collect()
    assert len(found) == len(values) // 2 + 1, "half of them have the same event_id"
