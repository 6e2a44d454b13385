"""Records in, rows and reasons out; events in, hours out."""

import itertools
import json
from datetime import date
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.sales import transforms
from shop_streams.defs.sales.checks import parity
from shop_streams.defs.sales.marts import day_metrics
from shop_streams_tests.defs.sales.events import GOOD_BUT_UNUSUAL, REFUSED, REPEATS
from shop_streams_tests.harness import records

ID = "123e4567-e89b-12d3-a456-426614174000"
MIDNIGHT = 1_600_041_600_000  # 2020-09-14
VIEW: dict[str, Any] = {"event_type": "view", "item_price": 5, "timestamp": MIDNIGHT}
FULL: dict[str, Any] = VIEW | {"category": "c", "item_id": "i", "uid": "u", "event_id": ID}
# A good record; and its event_type, item_price, category, item_id, uid, event_id and event_time in the table.
ROWS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    (VIEW, ("view", 5, None, None, None, None, "2020-09-14 00:00:00")),
    (FULL, ("view", 5, "c", "i", "u", ID, "2020-09-14 00:00:00")),
    (FULL | {"event_id": ID.upper()}, ("view", 5, "c", "i", "u", ID, "2020-09-14 00:00:00")),
    (FULL | {"category": "", "uid": ""}, ("view", 5, "", "i", "", ID, "2020-09-14 00:00:00")),
    (FULL | {"item_id": "a } and { b", "uid": None}, ("view", 5, "c", "a } and { b", None, ID, "2020-09-14 00:00:00")),
    (FULL | {"event_type": "buy", "item_price": 10**12}, ("buy", 10**12, "c", "i", "u", ID, "2020-09-14 00:00:00")),
    (FULL | {"timestamp": MIDNIGHT + 86_399_999}, ("view", 5, "c", "i", "u", ID, "2020-09-14 23:59:59.999")),
    (FULL | {"more": {"nested": [1, {}]}, "Uid": 5}, ("view", 5, "c", "i", "u", ID, "2020-09-14 00:00:00")),
]


def test_a_record_is_a_row_or_has_a_reason(spark: SparkSession) -> None:
    values = [*(json.dumps(record).encode() for record, _ in ROWS), *GOOD_BUT_UNUSUAL, *(value for value, _ in REFUSED)]
    validated = transforms.validate(records(spark, values), "2015-01-01").orderBy("offset").cache()
    reasons = [row.reason for row in validated.collect()]
    good = len(ROWS) + len(GOOD_BUT_UNUSUAL)
    assert reasons[:good] == [None] * good
    for found, (value, words) in zip(reasons[good:], REFUSED, strict=True):
        assert words in found, value
    rows = transforms.project(validated.where("reason is null"))
    names = ("event_type", "item_price", "category", "item_id", "uid", "event_id", "event_time")
    mine = rows.where(f"kafka_offset < {len(ROWS)}").orderBy("kafka_offset")
    found_rows = mine.withColumn("event_time", mine.event_time.cast("string")).collect()
    assert [tuple(row[name] for name in names) for row in found_rows] == [expected for _, expected in ROWS]
    assert {(row.event_date, row.kafka_partition) for row in found_rows} == {(date(2020, 9, 14), 0)}


def test_what_is_refused_is_in_no_hour(spark: SparkSession) -> None:
    values = [json.dumps(FULL | change).encode() for change in ({}, {"item_price": -1}, {"event_type": "look"})]
    good = transforms.good_events(transforms.validate(records(spark, [*values, None]), "2015-01-01"))
    found = good.withColumn("event_time", good.event_time.cast("string")).collect()
    assert [tuple(row) for row in found] == [("view", 5, "u", "2020-09-14 00:00:00")]


def events(spark: SparkSession, *rows: tuple[str, int, str | None, int]) -> DataFrame:
    """Good events of (event_type, item_price, uid, seconds after midnight)."""
    frame = spark.createDataFrame(list(rows), "event_type string, item_price bigint, uid string, second bigint")
    return frame.selectExpr("*", f"timestamp_seconds({MIDNIGHT // 1000} + second) as event_time")


DAY = (
    ("view", 100, "u", 0), ("buy", 10, "u", 1), ("buy", 5, None, 3599),  # the first hour: 15 by two, and two who have a uid
    ("view", 7, None, 3600), ("view", 7, "v", 3601),  # nobody bought
    ("buy", 0, "w", -1),  # the hour before, for nothing
    ("buy", 1, "u", 7200), ("buy", 1, "u", 7300), ("buy", 0, "u", 7400),  # a third each
)  # fmt: skip
START = MIDNIGHT // 1000
# Windows begin so many seconds after the clock hour -> start_ts after midnight, revenue, visitors, purchases, aov.
HOURS: list[tuple[int, list[tuple[Any, ...]]]] = [
    (0, [(-3600, 0, 1, 1, 0.0), (0, 15, 2, 2, 7.5), (3600, 0, 1, 0, None), (7200, 2, 3, 3, 2 / 3)]),
    (3599, [(-1, 10, 3, 2, 5.0), (3599, 5, 1, 1, 5.0), (7199, 2, 3, 3, 2 / 3)]),
    (1, [(-3599, 0, 2, 1, 0.0), (1, 15, 1, 2, 7.5), (3601, 1, 2, 1, 1.0), (7201, 1, 2, 2, 0.5)]),
]


@pytest.mark.parametrize(("offset", "hours"), HOURS)
def test_an_hour_sums_its_purchases_and_counts_its_visitors(
    spark: SparkSession, offset: int, hours: list[tuple[Any, ...]]
) -> None:
    sent = transforms.as_records(transforms.hourly_metrics(events(spark, *DAY), offset)).collect()
    found = sorted((json.loads(one.value) for one in sent), key=lambda hour: hour["start_ts"])
    names = ("start_ts", "end_ts", "revenue", "visitors", "purchases", "aov")
    expected = [(START + start, START + start + 3600, *counts) for start, *counts in hours]
    assert [tuple(hour[name] for name in names) for hour in found] == expected
    assert {one.key for one in sent} == {str(hour["start_ts"]) for hour in found}


def test_a_record_of_an_hour_has_every_field_in_its_order(spark: SparkSession) -> None:
    [one] = transforms.as_records(transforms.hourly_metrics(events(spark, ("view", 1, None, 0)))).collect()
    assert (one.key, one.value) == (
        "1600041600",
        '{"start_ts":1600041600,"end_ts":1600045200,"revenue":0,"visitors":0,"purchases":0,"aov":null}',
    )


def test_windows_can_begin_with_the_first_event(spark: SparkSession) -> None:
    assert transforms.first_event_offset(events(spark, *DAY)) == 3599
    assert transforms.first_event_offset(events(spark, *DAY[:5])) == 0
    assert transforms.first_event_offset(events(spark, *DAY).where("false")) is None


def metrics_of(spark: SparkSession, events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What topic and mart make of records, through every expression of the stream and the mart."""
    topic = records(spark, [json.dumps(event).encode() for event in events])
    validated = transforms.validate(topic, "2015-01-01")
    assert validated.where("reason is not null").count() == 0
    sent = transforms.as_records(transforms.hourly_metrics(transforms.good_events(validated))).collect()
    rows = [row.asDict() for row in day_metrics(transforms.project(validated), date(2020, 9, 14), 0).collect()]
    return sorted((json.loads(one.value) for one in sent), key=lambda hour: hour["start_ts"]), rows


def test_an_id_counts_once_within_7_days_in_the_mart_and_each_time_in_the_topic(spark: SparkSession) -> None:
    day = 86_400_000
    buy = {"event_type": "buy", "item_price": 10, "uid": "u", "timestamp": MIDNIGHT}
    other = "00000000-0000-4000-8000-000000000001"
    old = "00000000-0000-4000-8000-000000000002"
    events = [
        buy | {"event_id": ID.upper()}, buy | {"event_id": ID}, buy | {"uid": None},
        buy | {"event_id": other, "timestamp": MIDNIGHT - 7 * day}, buy | {"event_id": other, "uid": "v"},
        buy | {"event_id": old, "timestamp": MIDNIGHT - 8 * day}, buy | {"event_id": old, "uid": "w"},
    ]  # fmt: skip
    sent, [row] = metrics_of(spark, events)
    assert (row["revenue"], row["visitors"], row["purchases"], row["unique_visitors"]) == (30, 2, 3, 2)
    assert [row[name] for name in REPEATS] == [2, 20, 2, 2]
    topic = {str(hour["start_ts"]): {0: hour} for hour in sent if hour["start_ts"] * 1000 == MIDNIGHT}
    assert parity(topic, [row], {"2020-09-14": True}, set(), 2e9).differences == []


def test_totals_of_the_largest_prices_are_exact(spark: SparkSession) -> None:
    """The state's type is the point: a bigint overflows at 9.2e18, nine million of the largest prices."""
    events = spark.range(1_000_000).selectExpr(
        "'buy' as event_type",
        "9999999999999 - (id % 2) as item_price",
        "null as uid",
        "timestamp_millis(0) as event_time",
    )
    [record] = transforms.as_records(transforms.hourly_metrics(events)).collect()
    assert f'"revenue":{1_000_000 * (10**13 - 1) - 500_000},' in record.value


def test_nothing_that_is_accepted_throws_later(spark: SparkSession) -> None:
    ends: dict[str, list[Any]] = {
        "event_type": ["view", "buy"], "item_price": [0, 10**12], "uid": [None, "", "a\0b", "x" * 100_000],
        "category": [None, "", "\U0001f600"], "event_id": [None, ID], "timestamp": [1_420_070_400_000, MIDNIGHT, MIDNIGHT + 1],
    }  # fmt: skip
    events = [dict(zip(ends, values, strict=True)) for values in itertools.product(*ends.values())]
    sent, rows = metrics_of(spark, events)
    assert len(sent) == 2 and len(rows) == 1


def test_a_day_with_prices_that_an_earlier_version_took_is_computed_exactly(spark: SparkSession) -> None:
    events = spark.createDataFrame(
        [(MIDNIGHT + number, price, "i") for number, price in enumerate((9 * 10**18, 9 * 10**18, 5))],
        "time bigint, price bigint, id string",
    ).selectExpr(
        "'buy' as event_type", "'c' as category", "id as item_id", "price as item_price", "'u' as uid",
        "timestamp_millis(time) as event_time", "to_date(timestamp_millis(time)) as event_date", "cast(null as string) as event_id", "0 as kafka_partition", "time as kafka_offset",
    )  # fmt: skip
    [hour] = day_metrics(events, date(2020, 9, 14), 0).collect()
    assert (int(hour["revenue"]), hour["purchases"]) == (18 * 10**18 + 5, 3)
