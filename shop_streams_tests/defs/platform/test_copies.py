"""What `forget-user` says of the copies that it can't delete."""

import pytest

from shop_streams.defs.platform import copies
from shop_streams.settings import Settings


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"cleanup.policy": "compact"}, "or a later record has the same key: cleanup.policy is compact"),
        ({"cleanup.policy": "compact,delete"}, "retention.ms is 3 days, and segment.ms 7 more"),
        ({"retention.ms": "-1"}, "the topic is deleted: it has no retention.ms"),
    ],
)
def test_a_topic_that_keeps_records_otherwise_promises_no_day(
    home: Settings, monkeypatch: pytest.MonkeyPatch, found: dict[str, str], words: str
) -> None:
    kept = copies.topic_settings(home.kafka, "events")
    monkeypatch.setattr(copies, "topic_settings", lambda _servers, _topic: kept | found)
    assert copies.retention_of(home, "events").endswith(words)
