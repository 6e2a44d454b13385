"""Records in, metrics out."""

import itertools
import json
from datetime import date
from typing import Any

from shop_streams.defs.sales import transforms
from shop_streams.defs.sales.checks import parity
from shop_streams.defs.sales.marts import day_metrics
from shop_streams.spark import open_session
from shop_streams_tests.defs.sales.events import REPEATS
from shop_streams_tests.harness import Stack

ID = "123e4567-e89b-12d3-a456-426614174000"
MIDNIGHT = 1_600_041_600_000  # 2020-09-14


def metrics_of(stack: Stack, events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What topic and mart make of records, through every expression of the stream and the mart."""
    spark = open_session(stack.settings)
    values = [(bytearray(json.dumps(event).encode()), number) for number, event in enumerate(events)]
    records = spark.createDataFrame(values, "value binary, offset bigint").selectExpr(
        "'t' as topic", "0 as partition", "offset", "current_timestamp() as timestamp", "value"
    )
    validated = transforms.validate(records, "2015-01-01")
    assert validated.where("reason is not null").count() == 0
    sent = transforms.as_records(transforms.hourly_metrics(transforms.good_events(validated))).collect()
    rows = [row.asDict() for row in day_metrics(transforms.project(validated), date(2020, 9, 14), 0).collect()]
    return sorted((json.loads(one.value) for one in sent), key=lambda hour: hour["start_ts"]), rows


def test_an_id_counts_once_within_7_days_in_the_mart_and_each_time_in_the_topic(stack: Stack) -> None:
    day = 86_400_000
    buy = {"event_type": "buy", "item_price": 10, "uid": "u", "timestamp": MIDNIGHT}
    other = "00000000-0000-4000-8000-000000000001"
    old = "00000000-0000-4000-8000-000000000002"
    events = [
        buy | {"event_id": ID.upper()}, buy | {"event_id": ID}, buy | {"uid": None},
        buy | {"event_id": other, "timestamp": MIDNIGHT - 7 * day}, buy | {"event_id": other, "uid": "v"},
        buy | {"event_id": old, "timestamp": MIDNIGHT - 8 * day}, buy | {"event_id": old, "uid": "w"},
    ]  # fmt: skip
    sent, [row] = metrics_of(stack, events)
    assert (row["revenue"], row["visitors"], row["purchases"], row["unique_visitors"]) == (30, 2, 3, 2)
    assert [row[name] for name in REPEATS] == [2, 20, 2, 2]
    topic = {str(hour["start_ts"]): hour for hour in sent if hour["start_ts"] * 1000 == MIDNIGHT}
    assert parity(topic, [row], {"2020-09-14": True}, set(), 2e9).differences == []


def test_totals_of_the_largest_prices_are_exact(stack: Stack) -> None:
    """The state's type is the point: beyond 9 million of them in an hour a bigint overflows."""
    spark = open_session(stack.settings)
    events = spark.range(20_000_000).selectExpr(
        "'buy' as event_type",
        "1000000000000 - (id % 2) as item_price",
        "null as uid",
        "timestamp_millis(0) as event_time",
    )
    [record] = transforms.as_records(transforms.hourly_metrics(events)).collect()
    assert f'"revenue":{20_000_000 * 10**12 - 10_000_000},' in record.value


def test_nothing_that_is_accepted_throws_later(stack: Stack) -> None:
    ends: dict[str, list[Any]] = {
        "event_type": ["view", "buy"], "item_price": [0, 10**12], "uid": [None, "", "a\0b", "x" * 100_000],
        "category": [None, "", "\U0001f600"], "event_id": [None, ID], "timestamp": [1_420_070_400_000, MIDNIGHT, MIDNIGHT + 1],
    }  # fmt: skip
    events = [dict(zip(ends, values, strict=True)) for values in itertools.product(*ends.values())]
    sent, rows = metrics_of(stack, events)
    assert len(sent) == 2 and len(rows) == 1


def test_a_day_with_prices_that_an_earlier_version_took_is_computed_exactly(stack: Stack) -> None:
    events = open_session(stack.settings).createDataFrame(
        [(MIDNIGHT + number, price, "i") for number, price in enumerate((9 * 10**18, 9 * 10**18, 5))],
        "time bigint, price bigint, id string",
    ).selectExpr(
        "'buy' as event_type", "'c' as category", "id as item_id", "price as item_price", "'u' as uid",
        "timestamp_millis(time) as event_time", "to_date(timestamp_millis(time)) as event_date", "cast(null as string) as event_id", "0 as kafka_partition", "time as kafka_offset",
    )  # fmt: skip
    [hour] = day_metrics(events, date(2020, 9, 14), 0).collect()
    assert (int(hour["revenue"]), hour["purchases"]) == (18 * 10**18 + 5, 3)
