"""Ingest and aggregation against bare Spark, in a JVM of its own with Java's own defaults: the rates of running queries."""

import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession

from shop_streams.defs.app_events.rules import STORED_EVENT
from shop_streams.defs.app_events.schema import EVENTS
from shop_streams.defs.app_events.transforms import project, validate
from shop_streams.defs.sales import aggregate
from shop_streams.lake.table import Table as LakeTable
from shop_streams.settings import Settings
from shop_streams.streaming.records import spark_types
from shop_streams.streaming.spec import lake_stream
from shop_streams.streaming.start import start_query
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.bench.traffic import app_event, console, fill, shop_event
from shop_streams_tests.bench.worker import Worker, worker

AGGREGATED = "bench_shop_events"
SHOP_FIELDS = "event_type string, category string, item_id string, item_price bigint, uid string, timestamp bigint"


def seconds_of(start: Callable[[], Any]) -> float:
    """Seconds from the moment that the query was started until it has read its topic."""
    query = start()
    started = time.monotonic()
    while query.isActive:
        query.awaitTermination(1)
    if query.exception():
        raise query.exception()
    return time.monotonic() - started


def new_topic(settings: Settings) -> str:
    """The name of a topic that is made for one round."""
    name = f"bench-{uuid.uuid4().hex}"
    create_topics(settings, (Topic(name, ""),))
    return name


def compare(name: str, count: int, ours: Callable[[], Any], bare: Callable[[], float], rounds: int) -> list[str]:
    """Both in turn, twice unmeasured and then `rounds` times; the median of the ratios of the rates, pair by pair."""
    pairs = []
    for number in range(rounds + 2):  # the JVM's optimizing compiler takes both to warm up
        slow, fast = seconds_of(ours), bare()
        console.print(
            f"  {name} round {number}: ours {count / slow:,.0f}/s, bare {count / fast:,.0f}/s", highlight=False
        )
        pairs.append((fast / slow, count / slow, count / fast))
    ratio, mine, theirs = (statistics.median(column) for column in zip(*pairs[2:], strict=True))
    return [name, f"{mine:,.0f}/s", f"bare Spark {theirs:,.0f}/s", f"ratio {ratio:.2f}", "ratio 0.8"]


def _ddl(fields: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in fields.items())


@contextmanager
def bare_spark(settings: Settings) -> Iterator[Worker]:
    """Bare Spark as a user would run it, in a JVM of its own."""
    folder = settings.home / "bare-spark"
    folder.mkdir(exist_ok=True)
    words = (f"{settings.jars / 'spark'}/*", settings.spark_memory, str(folder), str(settings.state_partitions))
    with worker(sys.executable, "bare_spark.py", settings.home / "logs" / "bare-spark.log", *words) as started:
        yield started


def bench_ingest(spark: SparkSession, settings: Settings, count: int, rounds: int) -> list[str]:
    """Topic to Delta with every promise kept, against from_json and Delta's own sink."""
    topic = Topic("bench_events", "")
    fill(settings, topic.name, count, app_event)

    def ours() -> Any:
        run = uuid.uuid4().hex
        table = LakeTable(f"bench/{run}", EVENTS.columns, EVENTS.partition_by, "")
        spec = lake_stream(name=f"bench_{run}", topic=topic, table=table, validate=validate, project=project)
        return start_query(spec, settings, spark, availableNow=True)

    with bare_spark(settings) as other:

        def bare() -> float:
            folder = f"{settings.home}/bare-spark/{uuid.uuid4().hex}"
            places = {"topic": topic.name, "out": folder, "checkpoint": f"{folder}-checkpoint"}
            return other.seconds_of(
                name="ingest", servers=str(settings.kafka), fields=_ddl(spark_types(STORED_EVENT.model)), **places
            )

        return compare("ingest", count, ours, bare, rounds)


def our_aggregation(spark: SparkSession, settings: Settings, out: str) -> Any:
    """The query of `aggregate --until-caught-up` over the bench's topic."""
    return aggregate.start(
        spark,
        settings.kafka,
        AGGREGATED,
        out,
        f"{settings.checkpoints}/{out}",
        "hour",
        True,
        settings.first_day.isoformat(),
    )


def bench_aggregate(spark: SparkSession, settings: Settings, count: int, rounds: int) -> list[str]:
    """`aggregate --until-caught-up` against the same aggregation in bare Spark."""
    fill(settings, AGGREGATED, count, shop_event)
    with bare_spark(settings) as other:

        def bare() -> float:
            out = new_topic(settings)
            places = {"topic": AGGREGATED, "out": out, "checkpoint": f"{settings.home}/bare-spark/{out}"}
            return other.seconds_of(name="aggregate", servers=str(settings.kafka), fields=SHOP_FIELDS, **places)

        return compare("aggregate", count, lambda: our_aggregation(spark, settings, new_topic(settings)), bare, rounds)
