"""sales against DuckDB over the same events: the aggregate command, the mart, and its repair by late events."""

import itertools
import json
import random
import uuid
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from shop_streams.defs.sales import transforms
from shop_streams.defs.sales.checks import parity
from shop_streams.defs.sales.marts import day_metrics, day_versions, source_rows_by_day
from shop_streams.defs.sales.schema import HOURLY
from shop_streams.lake import reader
from shop_streams.spark import open_session
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import Stack, wait_for

ORACLE = """
with events as (select * from read_json(?, columns = {event_type: 'VARCHAR', item_price: 'BIGINT', uid: 'VARCHAR', "timestamp": 'BIGINT'})),
     anchored as (select *, ("timestamp" // 1000 - ?) // 3600 * 3600 + ? as start_ts from events)
select start_ts, start_ts + 3600 as end_ts,
       coalesce(sum(item_price) filter (event_type = 'buy'), 0)::bigint as revenue,
       count(uid) as visitors, count(*) filter (event_type = 'buy') as purchases,
       sum(item_price) filter (event_type = 'buy') / count(*) filter (event_type = 'buy') as aov,
       count(distinct uid) as unique_visitors
  from anchored group by start_ts order by start_ts
"""


def make_events(count: int, seed: int, first: int, hours: int) -> list[dict[str, Any]]:
    """Events in disorder; some hours have no purchase, some visitors no uid."""
    source = random.Random(seed)
    return [
        {
            "event_type": "buy" if source.random() < 0.02 else "view",
            "category": "c",
            "item_id": f"i{source.randrange(50)}",
            "item_price": source.randrange(10_000),
            "uid": None if source.random() < 0.3 else f"u{source.randrange(40)}",
            "timestamp": first + source.randrange(hours * 3_600_000),
        }
        for _ in range(count)
    ]


def oracle(events: list[dict[str, Any]], folder: Path, offset: int = 0) -> list[dict[str, Any]]:
    path = folder / f"{uuid.uuid4().hex}.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    with duckdb.connect() as connection:
        result = connection.execute(ORACLE, [str(path), offset, offset])
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def values(stack: Stack, topic: str) -> list[dict[str, Any]]:
    consumer = Consumer({"bootstrap.servers": stack.settings.kafka, "group.id": "test"})
    found: list[tuple[bytes, dict[str, Any]]] = []
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    marks = [consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10) for n in partitions]
    consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in partitions])
    while len(found) < sum(high - low for low, high in marks):
        good = [message for message in consumer.consume(1000, 1) if not message.error()]
        found += [(message.key() or b"", json.loads(message.value() or b"")) for message in good]
    consumer.close()
    assert all(int(key) == value["start_ts"] for key, value in found)
    return sorted((value for _, value in found), key=lambda value: value["start_ts"])


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in names} for row in rows]


REPEATS = ("repeats", "repeats_revenue", "repeats_visitors", "repeats_purchases")


@pytest.mark.parametrize("anchor", ["hour", "first_event"])
def test_aggregate_sends_each_window_once_and_equals_duckdb(stack: Stack, tmp_path: Path, anchor: str) -> None:
    topic, out = f"shop-{uuid.uuid4().hex}", f"metrics-{uuid.uuid4().hex}"
    create_topics(stack.settings, (Topic(topic, ""),))
    events = make_events(3000, 5, 1_577_865_600_000 + 1_234_567, 30)
    bad = [b'{"event_type":"buy"', b"", json.dumps(events[0] | {"timestamp": 1_577_865_600}).encode()]
    stack.produce(topic, [*(json.dumps(event).encode() for event in events), *bad])
    words = (
        "aggregate",
        "--in-topic",
        topic,
        "--out-topic",
        out,
        "--until-caught-up",
        "--checkpoint",
        str(tmp_path / "cp"),
        "--window-anchor",
        anchor,
    )
    told = stack.cli(*words).stdout
    assert "3,003 events read, 3,000 taken, 3 refused." in told and "1 refused: empty value" in told
    offset = 0 if anchor == "hour" else min(event["timestamp"] for event in events) // 1000 % 3600
    expected = without(oracle(events, tmp_path, offset), "unique_visitors")
    sent = values(stack, out)
    assert sent == expected
    assert list(sent[0]) == ["start_ts", "end_ts", "revenue", "visitors", "purchases", "aov"]
    assert any(row["aov"] is None for row in sent), "the data must have an hour without a purchase"
    stack.cli(*words)
    assert len(values(stack, out)) == len(expected), "a second run on the same checkpoint sends nothing"


def mart(stack: Stack, day: str) -> list[dict[str, Any]]:
    rows = reader.scan(HOURLY.uri(stack.settings), [column.name for column in HOURLY.columns])
    days = [row for row in (rows.to_pylist() if rows.num_columns else []) if str(row["event_date"]) == day]
    return sorted(without(days, "event_date", "source_rows", *REPEATS), key=lambda row: row["start_ts"])


def mart_runs(stack: Stack) -> list[dict[str, Any]]:
    query = """{ runsOrError(filter: {tags: [{key: ".dagster/shop_streams_mart", value: "sales_hourly_metrics"}]}) {
        ... on Runs { results { status assetMaterializations { partition } } } } }"""
    found: list[dict[str, Any]] = stack.graphql(query)["runsOrError"]["results"]
    return found


def partitions_run(stack: Stack) -> list[list[str]]:
    """The partitions of each run that recomputed the mart, out of Dagster's own record of materializations."""
    return [sorted({event["partition"] for event in run["assetMaterializations"]}) for run in mart_runs(stack)]


def new_runs(stack: Stack, before: list[list[str]]) -> list[list[str]]:
    runs = partitions_run(stack)
    for run in before:
        runs.remove(run)
    return runs


def wait_for_rest(stack: Stack) -> None:
    def settled() -> bool:
        recorded = reader.source_versions(HOURLY.uri(stack.settings), "event_date")
        # A run materializes its partitions one by one, each a moment after its rows are there.
        idle = all(run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in mart_runs(stack))
        return idle and recorded == source_rows_by_day(stack.settings)

    wait_for("the repair sensor to come to rest", settled)


def follows(stack: Stack, day: date, expected: list[Any]) -> bool:
    return mart(stack, str(day)) == expected


def test_the_mart_repairs_exactly_the_days_that_late_events_changed(stack: Stack, tmp_path: Path) -> None:
    first, second = date(2021, 3, 1), date(2021, 3, 10)
    start = {day: 1000 * int((day - date(1970, 1, 1)).total_seconds()) for day in (first, second)}
    events = {day: make_events(400, day.day, start[day], 24) for day in (first, second)}
    stack.produce("shop_events", [json.dumps(event).encode() for day in events for event in events[day]])
    for day in (first, second):
        wait_for(f"the mart of {day}", partial(follows, stack, day, oracle(events[day], tmp_path)))
    wait_for_rest(stack)
    before = partitions_run(stack)
    late = [make_events(1, 99, start[first], 24)[0] | {"event_type": "buy", "uid": "late"}]  # moves every metric
    stack.produce("shop_events", [json.dumps(event).encode() for event in late])
    wait_for(
        "the late event in the mart",
        lambda: mart(stack, str(first)) == oracle(events[first] + late, tmp_path),
        120,
    )
    wait_for_rest(stack)  # the row is there a moment before Dagster has the run's materialization
    assert new_runs(stack, before) == [[str(first)]], f"no other partition ran; before: {before}"


def test_ten_late_events_for_ten_old_days_are_one_run_of_just_those(stack: Stack, tmp_path: Path) -> None:
    days = [date(2018, 1, 1) + timedelta(days=9 * number) for number in range(10)]
    events = {
        day: make_events(1, number, 86_400_000 * (day - date(1970, 1, 1)).days, 24) for number, day in enumerate(days)
    }
    wait_for_rest(stack)
    before = partitions_run(stack)
    stack.produce("shop_events", [json.dumps(event).encode() for day in days for event in events[day]])
    for day in days:
        wait_for(f"the mart of {day}", partial(follows, stack, day, oracle(events[day], tmp_path)))
    wait_for_rest(stack)
    runs = new_runs(stack, before)
    assert sorted(key for run in runs for key in run) == [str(day) for day in days], "no other partition ran"
    assert len(runs) <= 3


def test_parity_finds_what_differs_and_waits_for_what_is_open() -> None:
    row = {"start_ts": 3600, "end_ts": 7200, "revenue": 5, "visitors": 1, "purchases": 1, "aov": 5.0}
    day = {"1970-01-01": True}
    assert parity({"3600": row}, [row], day, 10_000).differences == []
    assert parity({"3600": row | {"revenue": 6}}, [row], day, 10_000).differences
    assert parity({}, [row], day, 10_000).differences and parity({"3600": row}, [], day, 10_000).differences
    assert parity({"3600": row | {"revenue": 6}}, [row], day, 7_000).pending == 1
    assert parity({"3600": row | {"revenue": 6}}, [row], {"1970-01-01": False}, 10_000).pending == 1
    more = {"repeats_revenue": 10, "repeats_visitors": 2, "repeats_purchases": 1}
    topic = row | {"revenue": 15, "visitors": 3, "purchases": 2, "aov": 7.5}
    assert parity({"3600": topic}, [row | more], day, 10_000).differences == []
    assert parity({"3600": row}, [row | more], day, 10_000).differences, "the topic counts records"
    assert parity({"3600": topic | {"visitors": 2}}, [row | more], day, 10_000).differences


def test_the_version_of_a_day_covers_what_may_make_repeats_of_its_events() -> None:
    rows, with_id = {"2020-01-01": 5, "2020-01-08": 3, "2020-01-09": 2}, {"2020-01-01": 4, "2020-01-08": 1}
    assert day_versions(rows, with_id, True) == {"2020-01-01": 5, "2020-01-08": 3 + 4, "2020-01-09": 2 + 1}
    assert day_versions(rows, with_id, False)["2020-01-07"] == 0 + 4 + 3, "its last hour reaches into the next day"


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
    assert parity(topic, [row], {"2020-09-14": True}, 2e9).differences == []


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
