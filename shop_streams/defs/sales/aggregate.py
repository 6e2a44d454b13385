"""Hourly metrics from topic to topic, as an application of its own: for past days, or for as long as it runs.

    spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0 shop_streams/defs/sales/aggregate.py \
        --in-topic shop_events --out-topic hourly_metrics --until-caught-up

The managed stream `hourly_metrics` runs the same `aggregation`. This file needs pyspark and this repository, but
none of Dagster.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.sales import transforms
from shop_streams.streaming.checkpoint import CheckpointNotes
from shop_streams.streaming.records import read_batch, read_stream

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

OFFSET_NOTE = "window_offset_seconds"


class NoEvents(Exception):
    """The topic holds no valid event, so there is no first one to anchor the windows at."""


def window_offset(spark: SparkSession, servers: str, topic: str, anchor: str, checkpoint: str) -> int:
    """Seconds by which windows are shifted from the clock hour, fixed at the checkpoint's first start.

    Raises:
        NoEvents: the anchor is the first event and there is none yet.
    """
    notes = CheckpointNotes(spark, checkpoint)

    def first() -> str:
        if anchor == "hour":
            return "0"
        offset = transforms.first_event_offset(
            transforms.judge(read_batch(spark, servers, topic))
            .where("reason is null")
            .selectExpr("timestamp_millis(event.timestamp) as event_time")
        )
        if offset is None:
            raise NoEvents(f"topic {topic} holds no valid event yet, and the windows shall begin at the first one")
        return str(offset)

    return int(notes.get(OFFSET_NOTE, first))


def aggregation(records: DataFrame, offset_seconds: int) -> DataFrame:
    """Kafka records of `shop_events` in, Kafka records of `hourly_metrics` out."""
    events = transforms.good_events(transforms.judge(records))
    return transforms.as_records(transforms.hourly_metrics(events, offset_seconds))


def start(
    spark: SparkSession,
    servers: str,
    in_topic: str,
    out_topic: str,
    checkpoint: str,
    anchor: str,
    until_caught_up: bool,
) -> StreamingQuery:
    """Start the application. `until_caught_up` takes what the topic holds in one batch, so each hour is sent once."""
    offset = window_offset(spark, servers, in_topic, anchor, checkpoint)
    records = read_stream(spark, servers, in_topic, None if until_caught_up else 1_000_000)
    trigger: dict[str, Any] = {"availableNow": True} if until_caught_up else {"processingTime": "5 seconds"}
    return (
        aggregation(records, offset)
        .writeStream.format("kafka")
        .option("kafka.bootstrap.servers", servers)
        .option("topic", out_topic)
        .option("checkpointLocation", checkpoint)
        .outputMode("update")
        .trigger(**trigger)
        .start()
    )


def main() -> None:
    """The spark-submit entry point."""
    parser = argparse.ArgumentParser(description="Hourly metrics of shop events, Kafka to Kafka.")
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092")
    parser.add_argument("--in-topic", required=True)
    parser.add_argument("--out-topic", required=True)
    parser.add_argument("--until-caught-up", action="store_true", help="aggregate what the topic holds, then stop")
    parser.add_argument("--checkpoint", help="where to go on from; a new folder when absent")
    parser.add_argument("--window-anchor", choices=("hour", "first_event"), default="hour")
    options = parser.parse_args()
    spark = SparkSession.builder.appName("hourly_metrics").config("spark.sql.shuffle.partitions", 2).getOrCreate()
    query = start(
        spark, options.bootstrap_servers, options.in_topic, options.out_topic,
        options.checkpoint or tempfile.mkdtemp(prefix="hourly_metrics-"), options.window_anchor, options.until_caught_up,
    )  # fmt: skip
    query.awaitTermination()


if __name__ == "__main__":
    main()
