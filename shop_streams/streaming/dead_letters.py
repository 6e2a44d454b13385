"""What was refused, why, and how to send it again once it is fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.compute as pc
from confluent_kafka import KafkaException, Producer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.errors import ShopStreamsError
from shop_streams.lake import log
from shop_streams.lake.table import Column, Table
from shop_streams.settings import Settings

DEAD_LETTERS = Table(
    path="dead_letters",
    columns=(
        Column("domain", "string", "the domain whose stream refused the record"),
        Column("topic", "string"),
        Column("kafka_partition", "int"),
        Column("kafka_offset", "bigint"),
        Column("raw", "binary", "the record's value, byte by byte; null when it had none"),
        Column("reason", "string", "the first rule that refused it"),
        Column("at", "timestamp", "the broker's time of the record"),
    ),
    partition_by=("domain",),
    rows_are="One row is one Kafka record that a stream refused, with the reason. Nothing vanishes: fix and replay.",
)


MAX_REPLAY_BYTES = 100_000_000


def as_dead_letters(refused: DataFrame, domain: str) -> DataFrame:
    """Rows of the dead letters' table out of judged records whose `reason` is not null."""
    return refused.select(
        F.lit(domain).alias("domain"),
        "topic",
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("value").alias("raw"),
        "reason",
        F.col("timestamp").alias("at"),
    )


def find(settings: Settings, domain: str | None = None) -> list[dict[str, Any]]:
    """Dead letters, oldest first, of one domain or of all."""
    table = log.scan(
        DEAD_LETTERS.uri(settings),
        [column.name for column in DEAD_LETTERS.columns],
        pc.field("domain") == domain if domain else None,
    )
    return table.sort_by("at").to_pylist() if table.num_rows else []


def replay(
    letters: list[dict[str, Any]], settings: Settings, fix: Callable[[bytes], bytes] = lambda raw: raw
) -> Iterator[dict[str, Any]]:
    """Send each letter's value, after `fix`, to its topic again; yields each once the broker has acknowledged it.

    Raises:
        ShopStreamsError: the broker did not take a record; those yielded before are safe.
    """
    config = {"bootstrap.servers": settings.kafka, "enable.idempotence": True, "acks": "all"}
    producer = Producer(config | {"message.max.bytes": MAX_REPLAY_BYTES})  # the topic's own limit decides, not ours
    failures: list[str] = []

    def delivered(error: Any, _message: Any) -> None:
        if error is not None:
            failures.append(str(error))

    for letter in letters:
        origin = f"{letter['topic']}:{letter['kafka_partition']}:{letter['kafka_offset']}"
        value = fix(letter["raw"]) if letter["raw"] is not None else None
        try:
            producer.produce(letter["topic"], value, headers={"replay_of": origin}, on_delivery=delivered)
        except KafkaException as error:
            raise ShopStreamsError(f"Kafka refused {origin}: {error}. Is it within the topic's size limit?") from error
        if producer.flush(30) or failures:
            reason = failures[0] if failures else "no acknowledgement within 30 s"
            raise ShopStreamsError(f"Replaying {origin} failed: {reason}. Is Kafka up? `shop-streams status` tells.")
        yield letter
