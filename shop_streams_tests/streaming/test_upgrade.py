"""What an earlier version wrote, this one goes on with; a change that a checkpoint can't follow is refused."""

import json
import tarfile
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from deltalake import write_deltalake

from shop_streams.defs.sales import streams, transforms
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.lake.table import Column, SchemaMismatch, Table
from shop_streams.lake.write import overwrite_partition
from shop_streams.spark import open_session
from shop_streams.streaming.checkpoint import CheckpointMetadata, CheckpointMismatch
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.sinks import LakeSink, TopicSink
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.start import start_query
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.fixtures import upgrade_records
from shop_streams_tests.harness import Stack

FIXTURE = Path(__file__).parents[1] / "fixtures" / "lake_of_35766a7.tar.gz"
TOPIC = Topic("upgraded_sales", "")
TABLE = Table("upgraded/shop_events", SHOP_EVENTS.columns, SHOP_EVENTS.partition_by, "")


def spec(name: str, sink: Any) -> StreamSpec:
    return StreamSpec(name=name, domain="sales", topic=TOPIC, sink=sink, interval_seconds=lambda _settings: 1)


def run(stack: Stack, stream: StreamSpec) -> None:
    query = start_query(stream, stack.settings, open_session(stack.settings), availableNow=True)
    while query.isActive:
        query.awaitTermination(1)
    assert query.exception() is None


def by_hand(values: list[bytes]) -> dict[int, tuple[int, int, int]]:
    """start_ts -> (revenue, visitors, purchases)."""
    hours: dict[int, tuple[int, int, int]] = {}
    for value in values:
        try:
            event = json.loads(value)
        except ValueError:
            continue
        start = event["timestamp"] // 3_600_000 * 3600
        revenue, visitors, purchases = hours.get(start, (0, 0, 0))
        buys = event["event_type"] == "buy"
        hours[start] = (
            revenue + event["item_price"] * buys,
            visitors + (event["uid"] is not None),
            purchases + buys,
        )
    return hours


def add_letter(stack: Stack, domain: str, topic: str, offset: int) -> None:
    """The dead letter of a fixture's broken record in partition 0: the fixtures have no table of letters."""
    DEAD_LETTERS.create(open_session(stack.settings), stack.settings)
    letters = reader.open_table(DEAD_LETTERS.uri(stack.settings))
    assert letters is not None
    row = {
        "domain": domain,
        "topic": topic,
        "kafka_partition": 0,
        "kafka_offset": offset,
        "reason": "half",
    }
    columns = dict.fromkeys(column.name for column in DEAD_LETTERS.columns) | row
    write_deltalake(letters, pa.Table.from_pylist([columns], letters.to_pyarrow_dataset().schema), mode="append")


def test_streams_of_an_earlier_version_continue(stack: Stack) -> None:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(stack.settings.lake, filter="data")
    create_topics(stack.settings, (TOPIC, Topic("upgraded_metrics", "")))
    producer = Producer({"bootstrap.servers": stack.settings.kafka})
    first, later = upgrade_records.first(), upgrade_records.later()
    for number, value in enumerate([*first, *later]):  # the fixture's own records first, at their own offsets
        producer.produce(TOPIC.name, value, partition=number % upgrade_records.PARTITIONS)
    assert producer.flush(30) == 0
    uri = TABLE.uri(stack.settings)
    assert reader.scan(uri, ["item_id"]).num_rows == 30, "the fixture"
    add_letter(stack, "sales", TOPIC.name, offset=15)
    run(stack, spec("upgraded_ingest", LakeSink(TABLE, "sales", transforms.validate, transforms.project)))
    items = reader.scan(uri, ["item_id"])["item_id"].to_pylist()
    assert sorted(items) == sorted(json.loads(value)["item_id"] for value in [*first[:30], *later]), "each once"
    run(stack, spec("upgraded_hourly", TopicSink(Topic("upgraded_metrics", ""), streams.hourly)))
    sent = [json.loads(record.value) for record in read_topic(stack.settings.kafka, "upgraded_metrics")]
    whole = by_hand([*first, *later])
    assert [(hour["start_ts"], (hour["revenue"], hour["visitors"], hour["purchases"])) for hour in sent] == [
        (upgrade_records.FIRST_SECOND, whole[upgrade_records.FIRST_SECOND])
    ], "only the hour that changed, and with what the earlier version had counted"


def test_a_setting_that_the_checkpoint_cannot_follow_is_refused(stack: Stack) -> None:
    metadata = CheckpointMetadata(
        open_session(stack.settings), f"{stack.settings.checkpoints}/pinned-{uuid.uuid4().hex}"
    )
    metadata.require_unchanged({"state_partitions": "2"})
    metadata.require_unchanged({"state_partitions": "2"})
    with pytest.raises(CheckpointMismatch, match=r"was 2 .* is 4 now.*SHOP_STREAMS_STATE_PARTITIONS=2"):
        metadata.require_unchanged({"state_partitions": "4"})


def test_a_table_of_an_earlier_version_gets_the_columns_that_it_lacks(stack: Stack) -> None:
    spark = open_session(stack.settings)
    table = Table(f"tests/{uuid.uuid4().hex}", (Column("a", "int"), Column("b", "bigint")), (), "")
    table.create(spark, stack.settings)
    spark.sql(f"insert into delta.`{table.uri(stack.settings)}` values (1, 2)")
    wider = replace(table, columns=(*table.columns, Column("c", "string"), Column("d", "decimal(38,0)")))
    wider.create(spark, stack.settings)
    wider.create(spark, stack.settings)
    rows = reader.scan(table.uri(stack.settings), ["a", "b", "c", "d"]).to_pylist()
    assert rows == [{"a": 1, "b": 2, "c": None, "d": None}]


def test_a_mart_of_an_earlier_version_keeps_its_narrower_column(stack: Stack) -> None:
    spark = open_session(stack.settings)
    table = Table(f"tests/{uuid.uuid4().hex}", (Column("a", "bigint"),), (), "")
    table.create(spark, stack.settings)
    wider = replace(table, columns=(Column("a", "decimal(38,0)"), Column("b", "int")))
    overwrite_partition(spark.sql("select cast(5 as decimal(38,0)) as a, 1 as b"), wider, stack.settings, "true")
    assert reader.scan(table.uri(stack.settings), ["a", "b"]).to_pylist() == [{"a": 5, "b": 1}]


def test_a_table_with_a_column_of_another_type_is_refused_with_the_way_out(stack: Stack) -> None:
    spark = open_session(stack.settings)
    table = Table(f"tests/{uuid.uuid4().hex}", (Column("a", "int"), Column("b", "bigint")), (), "")
    table.create(spark, stack.settings)
    with pytest.raises(SchemaMismatch, match=r"Column b .* is long, and this version writes string"):
        replace(table, columns=(Column("a", "int"), Column("b", "string"))).create(spark, stack.settings)
