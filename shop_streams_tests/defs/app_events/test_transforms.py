"""Records in, rows and reasons out; events in, enriched events out."""

import itertools
import json
import uuid
from datetime import date, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.app_events import transforms
from shop_streams_tests.defs.app_events.events import REFUSED
from shop_streams_tests.harness import records

ID = "123e4567-e89b-12d3-a456-426614174000"
BASE = {"event_time": "2025-06-01T12:00:00Z", "user_id": 7, "app_name": "a", "event_category": "c"}
NOON = datetime(2025, 6, 1, 12)
# A good record, and its event_id, event_time, user_id, event_action and event_value in the table. Each has its place's offset.
ROWS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    (BASE, ("t:0:0", "2025-06-01 12:00:00", 7, None, None)),
    (BASE | {"event_id": ID.upper()}, (ID, "2025-06-01 12:00:00", 7, None, None)),
    (BASE | {"event_action": "", "event_value": -5}, ("t:0:2", "2025-06-01 12:00:00", 7, "", -5)),
    (BASE | {"event_time": "2025-06-02T01:30:00.25+02:00"}, ("t:0:3", "2025-06-01 23:30:00.25", 7, None, None)),
    (BASE | {"user_id": -(2**31), "more": {"nested": [1]}}, ("t:0:4", "2025-06-01 12:00:00", -(2**31), None, None)),
]  # fmt: skip


def test_a_record_is_a_row_or_has_a_reason(spark: SparkSession) -> None:
    values = [*(json.dumps(record).encode() for record, _ in ROWS), *(value for value, _ in REFUSED)]
    validated = transforms.validate(records(spark, values), "2015-01-01").orderBy("offset").cache()
    reasons = [row.reason for row in validated.collect()]
    assert reasons[: len(ROWS)] == [None] * len(ROWS)
    for found, (value, words) in zip(reasons[len(ROWS) :], REFUSED, strict=True):
        assert words in found, value
    good = transforms.project(validated.where("reason is null"))
    rows = good.withColumn("event_time", good.event_time.cast("string")).collect()
    fields = ("event_id", "event_time", "user_id", "event_action", "event_value")
    assert [tuple(row[name] for name in fields) for row in rows] == [expected for _, expected in ROWS]
    assert {(row.event_date, row.kafka_partition) for row in rows} == {(date(2025, 6, 1), 0)}
    assert [row.kafka_offset for row in rows] == list(range(len(ROWS)))


def events(spark: SparkSession, *rows: tuple[str, int, int]) -> DataFrame:
    """Events of (event_id, minutes after noon, offset)."""
    values = [(event_id, NOON + timedelta(minutes=minutes), 0, offset) for event_id, minutes, offset in rows]
    return spark.createDataFrame(
        values, "event_id string, event_time timestamp, kafka_partition int, kafka_offset bigint"
    )


def test_the_first_event_of_an_id_is_kept_unless_it_came_before_the_window(spark: SparkSession) -> None:
    window = events(spark, ("a", 5, 1), ("a", 3, 2), ("b", 4, 4), ("b", 4, 3), ("c", 1, 5), ("d", 2, 6))
    found = transforms.without_repeats(window, events(spark, ("c", -60, 0), ("x", -5, 7))).collect()
    assert sorted((row.event_id, row.kafka_offset) for row in found) == [("a", 2), ("b", 3), ("d", 6)]


# The actions of one user's events, and what each of these events says: u_count and u_mp_ea.
ENRICHED: list[tuple[list[str | None], tuple[int, str | None]]] = [
    (["click"], (1, "click")),
    ([None], (1, None)),
    ([None, None, None, "view"], (4, "view")),  # null does not compete, and counts
    (["view", "click", "view", "click"], (4, "click")),  # a tie: the first in the alphabet
    (["scroll", "view", "view", "click"], (4, "view")),
    (["", None, ""], (3, "")),
    (["b", "B"], (2, "B")),  # capitals come first
]


def test_each_event_knows_how_many_its_user_has_and_the_favourite_action(spark: SparkSession) -> None:
    rows = [(user, action) for user, (actions, _) in enumerate(ENRICHED) for action in actions]
    found = transforms.enrich(spark.createDataFrame(rows, "user_id int, event_action string")).collect()
    expected = [(user, action, *ENRICHED[user][1]) for user, action in rows]
    assert sorted(map(str, ((row.user_id, row.event_action, row.u_count, row.u_mp_ea) for row in found))) == sorted(
        map(str, expected)
    )


def test_nothing_that_is_accepted_throws_later(spark: SparkSession) -> None:
    """The ends of every field's type through the rows and the enrichment."""
    ends: dict[str, list[Any]] = {
        "event_time": ["2025-01-01T00:00:00Z", "2025-01-01T02:00:00+02:00", "2025-06-01T00:00:00.999999999Z"],
        "user_id": [-(2**31), 2**31 - 1], "app_name": ["x", "a\0b"], "event_category": ["\U0001f600"],
        "event_action": [None, "", "x" * 100_000], "event_value": [None, -(2**31), 2**31 - 1], "event_id": [None, str(uuid.UUID(int=5)).upper()],
    }  # fmt: skip
    values = [json.dumps(dict(zip(ends, one, strict=True))).encode() for one in itertools.product(*ends.values())]
    validated = transforms.validate(records(spark, values), "2015-01-01")
    assert validated.where("reason is not null").count() == 0
    rows = transforms.project(validated)
    assert rows.count() == len(values)
    found = transforms.enrich(transforms.without_repeats(rows, rows.where("false"))).collect()
    assert len(found) == len(values) // 2 + 1, "half of them have the same event_id"
