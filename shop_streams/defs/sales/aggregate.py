"""Hourly metrics from topic to topic, as a separate application: for past days, or continuously.

    spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0 shop_streams/defs/sales/aggregate.py \
        --in-topic shop_events --out-topic hourly_metrics --until-caught-up

The managed stream `hourly_metrics` runs the same `aggregation`. This file needs pyspark, pyarrow, pandas, msgspec and this
repository, but not Dagster. On a cluster, give the workers the repository with --py-files.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from shop_streams.cluster import Cluster, Secret
from shop_streams.defs.sales import transforms
from shop_streams.streaming.checkpoint import CheckpointMetadata, topic_read
from shop_streams.streaming.records import read_batch, read_stream

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

# Keys of the checkpoint metadata.
OFFSET_KEY = "window_offset_seconds"
ANCHOR_KEY = "window_anchor"
TOPIC_KEY = "in_topic"
SUMS_KEY = "revenue_sums_as"
BASE_KEY = "sums_before_start"
REPOSITORY = Path(__file__).resolve().parents[3]


class NoEvents(Exception):
    """The topic holds no valid event, so windows can't begin at the first one."""


class AnotherCheckpoint(Exception):
    """The checkpoint was made with another topic or anchor, which Spark itself does not check."""


def require_same_topic(spark: SparkSession, topic: str, checkpoint: str) -> None:
    """Store the topic in the checkpoint metadata at the first start, and compare it at each later start.

    Raises:
        AnotherCheckpoint: the topics differ; the message names both.
    """
    stored = CheckpointMetadata(spark, checkpoint).get(TOPIC_KEY, lambda: topic_read(checkpoint) or topic)
    if stored != topic:
        raise AnotherCheckpoint(f"The checkpoint {checkpoint} is of topic {stored}, not {topic}: give another one")


def sums_of(spark: SparkSession, checkpoint: str) -> str:
    """The type in which this checkpoint's state sums prices, fixed at its first start.

    An earlier version summed as bigint, which overflows above 9 million of the largest prices in an hour. Spark can't
    read that state as another type, so an old checkpoint keeps bigint. A new checkpoint has the larger type.
    """
    metadata = CheckpointMetadata(spark, checkpoint)
    of_earlier_version = metadata.find(SUMS_KEY) is None and metadata.find(OFFSET_KEY) is not None
    return metadata.get(SUMS_KEY, lambda: "bigint" if of_earlier_version else transforms.EXACT)


def window_offset(
    spark: SparkSession, servers: Cluster, topic: str, anchor: str, checkpoint: str, first_day: str
) -> int:
    """Seconds by which windows are shifted from the clock hour, fixed at the checkpoint's first start.

    Raises:
        NoEvents: the anchor is the first event and there is none yet.
        AnotherCheckpoint: the checkpoint's windows have another anchor.
    """
    metadata = CheckpointMetadata(spark, checkpoint)
    stored = metadata.get(ANCHOR_KEY, lambda: anchor)
    if stored != anchor:
        raise AnotherCheckpoint(f"The windows of {checkpoint} begin at {stored}, not {anchor}: give another checkpoint")

    def first() -> str:
        if anchor == "hour":
            return "0"
        offset = transforms.first_event_offset(
            transforms.validate(read_batch(spark, servers, topic), first_day, keep=())
            .where("reason is null")
            .selectExpr("timestamp_millis(event.timestamp) as event_time")
        )
        if offset is None:
            raise NoEvents(f"topic {topic} holds no valid event yet, and windows begin at the first one")
        return str(offset)

    return int(metadata.get(OFFSET_KEY, first))


def aggregation(
    records: DataFrame, offset_seconds: int, first_day: str, sums_as: str, base: DataFrame | None = None
) -> DataFrame:
    """Kafka records of `shop_events` in, Kafka records of `hourly_metrics` out. `base` as in `transforms.with_base`."""
    events = transforms.good_events(transforms.validate(records, first_day, keep=()))
    metrics = transforms.hourly_metrics(events, offset_seconds, sums_as=sums_as)
    return transforms.as_records(metrics if base is None else transforms.with_base(metrics, base))


def base_json(values: Iterable[str]) -> str:
    """The hours' sums as checkpoint metadata; `values` are values of `hourly_metrics` records."""
    hours = [json.loads(value) for value in values]
    return json.dumps([[one["start_ts"], one["revenue"], one["visitors"], one["purchases"]] for one in hours])


def base_of(spark: SparkSession, checkpoint: str) -> DataFrame | None:
    """The sums of the records before the checkpoint's start, if its state was recovered from the lake; otherwise None."""
    stored = CheckpointMetadata(spark, checkpoint).find(BASE_KEY)
    if stored is None:
        return None
    rows = [
        (start, Decimal(revenue), visitors, purchases) for start, revenue, visitors, purchases in json.loads(stored)
    ]
    return spark.createDataFrame(rows, transforms.BASE_SCHEMA)


def start(
    spark: SparkSession,
    servers: Cluster,
    in_topic: str,
    out_topic: str,
    checkpoint: str,
    anchor: str,
    until_caught_up: bool,
    first_day: str,
) -> StreamingQuery:
    """Start the application. `until_caught_up` reads what the topic holds in one batch, so each hour is sent once."""
    require_same_topic(spark, in_topic, checkpoint)
    sums_as = sums_of(spark, checkpoint)  # first: an offset without a type means an earlier version
    offset = window_offset(spark, servers, in_topic, anchor, checkpoint, first_day)
    records = read_stream(spark, servers, in_topic, None if until_caught_up else 1_000_000)
    trigger: dict[str, Any] = {"availableNow": True} if until_caught_up else {"processingTime": "5 seconds"}
    return (
        aggregation(records, offset, first_day, sums_as)
        .writeStream.format("kafka")
        .options(**servers.spark())
        .option("topic", out_topic)
        .option("checkpointLocation", checkpoint)
        .outputMode("update")
        .trigger(**trigger)
        .start()
    )


def _row(observed: dict[str, Any] | None) -> dict[str, Any]:
    """An observed row as a dictionary. Spark Connect gives values and a schema, classic Spark a plain object."""
    if observed and "values" in observed:
        names = [one["name"] for one in observed["schema"]["fields"]]
        return dict(zip(names, observed["values"], strict=True))
    return observed or {}


@dataclass
class Tally:
    """How many records the query has read and refused, and the reasons, summed over its batches."""

    read: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    batches: set[int] = field(default_factory=set)

    def add(self, progress: Sequence[str]) -> None:
        """Add the batches of `progress` (Spark's JSON) that are new."""
        for batch in map(json.loads, progress):
            validated = _row((batch.get("observedMetrics") or {}).get("validated"))
            if not validated or batch["batchId"] in self.batches:
                continue
            self.batches.add(batch["batchId"])
            self.read += int(validated["records"])
            self.refused += int(validated["refused"])
            for reason in json.loads(validated["reasons"] or "[]"):
                if reason.get("item") is not None:  # null: the good records
                    self.reasons[reason["item"]] += int(reason["count"])

    def lines(self) -> list[str]:
        """A line with the sums, and a line for each reason, the most frequent first."""
        sums = f"{self.read:,} events read, {self.read - self.refused:,} taken, {self.refused:,} refused."
        return [sums, *(f"  {count:,} refused: {reason}" for reason, count in self.reasons.most_common())]


def main() -> int:
    """The spark-submit entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description="Hourly metrics of shop events, Kafka to Kafka.")
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092")
    parser.add_argument(
        "--kafka-options", type=Path, help="a file with options of Spark's Kafka source as JSON: the login"
    )
    parser.add_argument("--in-topic", required=True)
    parser.add_argument("--out-topic", required=True)
    parser.add_argument("--until-caught-up", action="store_true", help="aggregate what the topic holds, then stop")
    parser.add_argument("--checkpoint", help="folder to continue from; default: a new one")
    parser.add_argument("--window-anchor", choices=("hour", "first_event"), default="hour")
    parser.add_argument(
        "--first-day", type=date.fromisoformat, default=date(2015, 1, 1), help="older events are refused"
    )
    options = parser.parse_args()
    spark = (
        SparkSession.builder.appName("hourly_metrics")
        .config("spark.sql.shuffle.partitions", 2)
        .config("spark.executorEnv.PYTHONPATH", str(REPOSITORY))  # the rules run in Python workers
        .getOrCreate()
    )
    tally = Tally()
    kafka = Secret("--kafka-options", options.kafka_options.read_text() if options.kafka_options else "")
    try:
        query = start(
            spark, Cluster(options.bootstrap_servers, spark_options=kafka), options.in_topic, options.out_topic,
            options.checkpoint or tempfile.mkdtemp(prefix="hourly_metrics-"), options.window_anchor,
            options.until_caught_up, options.first_day.isoformat(),
        )  # fmt: skip
        while not query.awaitTermination(5):
            tally.add([progress.json for progress in query.recentProgress])
        tally.add([progress.json for progress in query.recentProgress])
    except (NoEvents, AnotherCheckpoint, PySparkException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    print("\n".join(tally.lines()))
    return 0


def one_line(error: Exception) -> str:
    """The first line of an error that is not empty, without the plan and the stack trace that Spark adds."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:500]


if __name__ == "__main__":
    sys.exit(main())
