"""Ingest and aggregation against bare Spark on the same topic: the rate of the running queries."""

import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from shop_streams.defs.app_events.schema import EVENTS, RECORD_FIELDS
from shop_streams.defs.app_events.transforms import judge, rows
from shop_streams.defs.sales import aggregate
from shop_streams.lake.asset import asset_key
from shop_streams.lake.table import Table as LakeTable
from shop_streams.settings import Settings
from shop_streams.streaming.managed import start_query
from shop_streams.streaming.sinks import LakeSink
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.bench.traffic import app_event, console, fill, shop_event


def seconds_of(start: Callable[[], Any]) -> float:
    """Seconds from the moment that the query was started until it has read its topic."""
    query = start()
    started = time.monotonic()
    while query.isActive:
        query.awaitTermination(1)
    if query.exception():
        raise query.exception()
    return time.monotonic() - started


def _kafka(spark: SparkSession, settings: Settings, topic: str) -> Any:
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka)
    return source.option("subscribe", topic).option("startingOffsets", "earliest").load()


def compare(name: str, count: int, ours: Callable[[], Any], bare: Callable[[], Any], rounds: int) -> list[str]:
    """Both in turn, once unmeasured and then `rounds` times; the median of the ratios of the rates, pair by pair."""
    pairs = []
    for number in range(rounds + 1):
        slow, fast = seconds_of(ours), seconds_of(bare)
        console.print(
            f"  {name} round {number}: ours {count / slow:,.0f}/s, bare {count / fast:,.0f}/s", highlight=False
        )
        if number:
            pairs.append((fast / slow, count / slow, count / fast))
    ratio, mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return [name, f"{mine:,.0f}/s", f"bare Spark {theirs:,.0f}/s", f"ratio {ratio:.2f}", "ratio 0.8"]


def _ddl(fields: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in fields.items())


def bench_ingest(spark: SparkSession, settings: Settings, count: int, rounds: int) -> list[str]:
    """Topic to Delta with every promise kept, against from_json and Delta's own sink."""
    topic = Topic("bench_events", "")
    fill(settings, topic.name, count, app_event)

    def ours() -> Any:
        run = uuid.uuid4().hex
        table = LakeTable(f"bench/{run}", EVENTS.columns, EVENTS.partition_by, "")
        sink = LakeSink(table, "bench", judge, rows)
        spec = StreamSpec(f"bench_{run}", "bench", topic, sink, asset_key(table), "", lambda _settings: 1)
        return start_query(spec, settings, spark, availableNow=True)

    def bare() -> Any:
        folder = f"{settings.lake}/bench/{uuid.uuid4().hex}"
        parsed = (
            _kafka(spark, settings, topic.name)
            .select(F.from_json(F.col("value").cast("string"), _ddl(RECORD_FIELDS)).alias("e"))
            .select("e.*")
        )
        writer = parsed.writeStream.format("delta").option("checkpointLocation", f"{folder}-checkpoint")
        return writer.option("path", folder).trigger(availableNow=True).start()

    return compare("ingest", count, ours, bare, rounds)


def bench_aggregate(spark: SparkSession, settings: Settings, count: int, rounds: int) -> list[str]:
    """`aggregate --until-caught-up` against the same aggregation in bare Spark."""
    topic = "bench_shop_events"
    fill(settings, topic, count, shop_event)

    def out() -> tuple[str, str]:
        name = f"bench-{uuid.uuid4().hex}"
        create_topics(settings, (Topic(name, ""),))
        return name, f"{settings.checkpoints}/{name}"

    def ours() -> Any:
        name, checkpoint = out()
        return aggregate.start(
            spark, settings.kafka, topic, name, checkpoint, "hour", True, settings.first_day.isoformat()
        )

    def bare() -> Any:
        name, checkpoint = out()
        fields = "event_type string, category string, item_id string, item_price int, uid string, timestamp bigint"
        events = (
            _kafka(spark, settings, topic)
            .select(F.from_json(F.col("value").cast("string"), fields).alias("e"))
            .select("e.*")
        )
        is_buy = F.col("event_type") == "buy"
        hours = events.groupBy(F.window(F.timestamp_millis("timestamp"), "1 hour")).agg(
            F.sum(F.when(is_buy, F.col("item_price"))), F.count("uid"), F.count(F.when(is_buy, 1))
        )
        writer = hours.select(F.to_json(F.struct("*")).alias("value")).writeStream.format("kafka").outputMode("update")
        writer = writer.option("kafka.bootstrap.servers", settings.kafka).option("topic", name)
        return writer.option("checkpointLocation", checkpoint).trigger(availableNow=True).start()

    return compare("aggregate", count, ours, bare, rounds)
