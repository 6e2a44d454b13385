"""Both streams of sales come back after losses, with real queries: each event is once in the table and once in its hour."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, Field, Schema
from deltalake.schema import PrimitiveType
from pyspark.sql import SparkSession

from shop_streams.defs.sales import transforms
from shop_streams.defs.sales.rebuild import HourlyRecovery, offset_of, to_send
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.defs.sales.sent import sent_hours
from shop_streams.defs.sales.streams import HOURLY
from shop_streams.kafka import Record, read_topic
from shop_streams.lake import reader
from shop_streams.lake.table import delta_type
from shop_streams.settings import Settings
from shop_streams.streaming import agreement
from shop_streams.streaming.checkpoint import CheckpointMetadata, committed_offsets
from shop_streams.streaming.identity import TopicChanged, require_unchanged, way_out
from shop_streams.streaming.recover import recover
from shop_streams.streaming.sinks import LakeSink, TopicSink
from shop_streams.streaming.spec import StreamContext, StreamSpec
from shop_streams.streaming.start import begin_query
from shop_streams.streaming.state import StateLost
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.streaming.letter_table import create_letters
from shop_streams_tests.streaming.recovered import Pretended

HOUR = 1_577_865_600
STEP = 1_000_000


def sale(hour: int, price: int) -> bytes:
    event = {"event_type": "buy", "category": "c", "item_id": "i", "item_price": price, "uid": "u"}
    return json.dumps(event | {"timestamp": (HOUR + 3600 * hour) * 1000}).encode()


def test_with_base_adds_the_sums_of_the_same_hour(spark: SparkSession) -> None:
    metrics = spark.sql(
        "select 0L start_ts, cast(5 as decimal(38,0)) revenue, 2L visitors, 1L purchases, 3600L end_ts, 5d aov union all "
        "select 3600L, cast(0 as decimal(38,0)), 1L, 0L, 7200L, null"
    )
    rows = [(0, 7, 3, 2), (7200, 9, 9, 9)]
    base = spark.createDataFrame(rows, "start_ts bigint, revenue bigint, visitors bigint, purchases bigint")
    found = transforms.as_records(transforms.with_base(metrics, base)).collect()
    assert {row.key: list(json.loads(row.value).values()) for row in found} == {
        "0": [0, 3600, 12, 5, 3, 4.0],
        "3600": [3600, 7200, 0, 1, 0, None],
    }


def test_hours_are_sent_again_unless_every_partition_has_their_value_last() -> None:
    same, changed, back, moved, twice, deleted, new = (str(3600 * number) for number in range(7))

    def record(partition: int, key: str, revenue: int) -> Record:
        value = {"start_ts": int(key), "revenue": revenue}
        return Record(partition, 0, key.encode(), json.dumps(value).encode(), {})

    sent = [
        record(0, same, 1), record(0, changed, 1), record(0, changed, 2), record(0, back, 3), record(0, back, 1),
        record(0, moved, 1), record(1, moved, 2), record(0, twice, 1), record(1, twice, 1),
        record(0, deleted, 1), Record(0, 0, deleted.encode(), b"", {}), Record(1, 0, b"", b"no JSON", {}),
    ]  # fmt: skip
    hours = [
        (key, f'{{ "revenue": 1, "start_ts": {key} }}') for key in (same, changed, back, moved, twice, deleted, new)
    ]
    assert [key for key, _ in to_send(hours, sent_hours(sent).values)] == [changed, moved, deleted, new]


def test_windows_begin_where_those_of_the_last_hour_did_that_was_sent() -> None:
    def record(start: int) -> Record:
        return Record(0, 0, str(start).encode(), json.dumps({"start_ts": start}).encode(), {})

    foreign = [Record(0, 0, b"", b"{}", {}), Record(0, 0, b"42", b"{}", {}), Record(0, 0, b"43", b"", {})]
    assert offset_of(list(sent_hours([record(600), record(3600), record(600), *foreign]).values)) == 600
    assert offset_of(list(sent_hours(foreign).values)) == 0


class Both:
    """The two streams on a topic and tables of their own, run by a local Spark."""

    def __init__(self, settings: Settings, spark: SparkSession) -> None:
        self.settings, self.spark = settings, spark
        one = Pretended.new(settings)
        table = replace(SHOP_EVENTS, path=f"tests/{one.spec.name}")
        sink = LakeSink(table, "sales", transforms.validate, transforms.project)
        self.ingest = replace(one.spec, sink=sink)
        self.topic = Pretended(settings, self.ingest)
        self.output = Topic(f"{one.spec.name}-metrics", "", partitions=1)
        create_topics(settings, (self.output,))
        assert isinstance(HOURLY.sink, TopicSink)
        recovery = HourlyRecovery(self.ingest)
        sums = replace(HOURLY.sink, output_topic=self.output, recovery=recovery)
        self.hourly = replace(HOURLY, name=f"{one.spec.name}-hourly", topic=one.spec.topic, sink=sums)
        self.recovery = recovery
        fields = [Field(one.name, PrimitiveType(delta_type(one.type))) for one in SHOP_EVENTS.columns]
        DeltaTable.create(sink.table.uri(settings), Schema(fields), partition_by=list(SHOP_EVENTS.partition_by))
        create_letters(settings)

    def run(self, spec: StreamSpec) -> None:
        """What `start_query` does without PostgreSQL."""
        folder, topic = spec.checkpoint(self.settings), spec.topic.name
        agreement.require_checkpoint(spec, self.settings)
        metadata = CheckpointMetadata(self.spark, folder)
        require_unchanged(metadata, self.settings.kafka, topic, committed_offsets(folder, topic), way_out(spec.name))
        agreement.require_table(spec, self.settings)
        agreement.remember_topic(spec, self.settings)
        context = StreamContext(self.spark, self.settings, spec.name, topic, folder)
        query: Any = begin_query(spec, context, availableNow=True)
        query.awaitTermination()
        assert query.exception() is None

    def rows(self) -> list[tuple[int, int, int]]:
        assert self.ingest.sink.table is not None
        columns = ["kafka_partition", "kafka_offset", "item_price"]
        found = reader.scan(self.ingest.sink.table.uri(self.settings), columns).to_pylist()
        return sorted(tuple(row.values()) for row in found)

    def hours(self) -> dict[int, tuple[int, int]]:
        """Hour -> (revenue, purchases) of its last record."""
        sent = [json.loads(record.value) for record in read_topic(self.settings.kafka, self.output.name)]
        return {(one["start_ts"] - HOUR) // 3600: (one["revenue"], one["purchases"]) for one in sent}

    def refused(self, spec: StreamSpec, error: type[Exception]) -> None:
        with pytest.raises(error, match="shop-streams recover"):
            self.run(spec)

    def recover_hourly(self) -> str | None:
        spark: Callable[[], SparkSession] = lambda: self.spark  # noqa: E731
        return self.recovery.carry_out(self.hourly, self.settings, spark)


@pytest.mark.timeout(3000)
def test_both_streams_come_back(kafka: Settings, spark: SparkSession, tmp_path: Path) -> None:
    spark.conf.set("spark.databricks.delta.requiredSparkConfsCheck.enabled", "false")
    spark.conf.set("spark.databricks.delta.snapshotPartitions", "1")  # 50 tasks for a few commits by default
    kafka = kafka.model_copy(update={"lake_uri": str(tmp_path)})
    both = Both(kafka, spark)
    assert both.ingest.sink.table is not None
    both.topic.send(sale(0, 1), sale(0, 2), b"bad", sale(1, 4), sale(1, 8))
    both.run(both.ingest)
    both.run(both.hourly)
    assert both.hours() == {0: (3, 2), 1: (12, 2)}

    DeltaTable(both.ingest.sink.table.uri(kafka)).delete("kafka_offset = 1")  # a hole, and the checkpoint is lost
    shutil.rmtree(both.ingest.checkpoint(kafka))
    both.topic.send(sale(1, 16))
    both.refused(both.ingest, agreement.CheckpointLost)
    plan, _ = recover(both.ingest, kafka, lambda _: None)
    assert plan.partitions[0].present == ((2, 5),) and plan.partitions[0].start == 1
    both.run(both.ingest)
    assert both.rows() == [(0, 0, 1), (0, 1, 2), (0, 3, 4), (0, 4, 8), (0, 5, 16)]
    assert both.topic.letters() == [2]

    both.topic.delete_before(5)
    shutil.rmtree(both.hourly.checkpoint(kafka))
    both.topic.send(sale(0, 32))
    both.refused(both.hourly, StateLost)
    both.recover_hourly()
    assert both.hours() == {0: (3, 2), 1: (28, 3)}, "the hour that the lost state had not sent is sent from the lake"
    both.run(both.hourly)
    assert both.hours() == {0: (35, 3), 1: (28, 3)}
    both.run(both.ingest)

    both.topic.make_topic_again()
    both.topic.send(sale(0, 64), sale(2, 128))
    both.refused(both.ingest, TopicChanged)
    recover(both.ingest, kafka, lambda _: None)
    both.run(both.ingest)
    assert both.rows()[-3:] == [(0, 6, 32), (STEP, 0, 64), (STEP, 1, 128)]
    both.refused(both.hourly, TopicChanged)
    old = Path(both.hourly.checkpoint(kafka))
    old.rename(old.with_name("old"))  # the new topic has all of its records, and the sums need more than these
    both.refused(both.hourly, StateLost)
    old.with_name("old").rename(old)
    replaced = both.recover_hourly()
    both.topic.send(sale(2, 256))
    both.run(both.hourly)
    assert both.hours() == {0: (99, 4), 1: (28, 3), 2: (384, 2)}

    assert replaced is not None
    shutil.rmtree(old)
    shutil.copytree(replaced, old)
    both.refused(both.hourly, agreement.CheckpointOlder)
