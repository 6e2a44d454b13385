"""What counts as an hour's record in the topic of hourly metrics, where anybody may write."""

import pytest

from shop_streams.defs.sales.sent import SentHours, sent_hours
from shop_streams.kafka import Record

GOOD = b'{"start_ts": 3600, "revenue": 5}'


def record(key: bytes = b"3600", value: bytes = GOOD, partition: int = 0) -> Record:
    return Record(partition, 0, key, value, {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", GOOD),  # null
        (b"7200", GOOD),
        (b"03600", GOOD),
        (b"\xff", GOOD),
        (b"3600", b"no JSON"),
        (b"3600", b"\xff"),
        (b"3600", b"null"),
        (b"3600", b"[3600]"),
        (b"3600", b"{}"),
        (b"3600", b'{"start_ts": "3600"}'),
        (b"3600", b'{"start_ts": 3600.0}'),
        (b"True", b'{"start_ts": true}'),
        (b"-3600", b'{"start_ts": -3600}'),
        (b"253402300800", b'{"start_ts": 253402300800}'),  # the year 10000, which Python has no date for
        (b"3600", b"[" * 100_000),
    ],
)
def test_a_record_of_another_kind_is_counted_and_changes_nothing(key: bytes, value: bytes) -> None:
    found = sent_hours([record(), record(key, value)])
    assert found == SentHours({"3600": {0: {"start_ts": 3600, "revenue": 5}}}, 1)


def test_the_last_record_of_each_partition_is_kept_in_the_order_of_reading() -> None:
    other = b'{"start_ts": 3600, "revenue": 6}'
    late = record(b"7200", b'{"start_ts": 7200}', 1)
    found = sent_hours([record(), record(partition=2), late, record(value=other)])
    assert list(found.values) == ["7200", "3600"]
    assert [(number, value["revenue"]) for number, value in found.values["3600"].items()] == [(2, 5), (0, 6)]


def test_a_record_without_a_value_deletes_the_hour_in_its_partition_alone() -> None:
    deleted = record(value=b"")
    assert sent_hours([record(), deleted]) == SentHours({})
    assert sent_hours([record(), record(partition=1), deleted]) == sent_hours([record(partition=1)])
    assert sent_hours([record(), deleted, record()]) == sent_hours([record()])
    assert sent_hours([record(b"", b"")]) == SentHours({})
