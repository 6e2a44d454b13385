"""The table of dead letters: records that a stream refused, with the reason."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.lake.table import ORIGIN_COLUMNS, Column, Table

DEAD_LETTERS = Table(
    path="dead_letters",
    columns=(
        Column("domain", "string", "the domain whose stream refused the record"),
        Column("topic", "string", "the record's topic"),
        *ORIGIN_COLUMNS,
        Column("raw", "binary", "the record's value, byte by byte; null when it had none"),
        Column("reason", "string", "every rule that the record breaks, with the field"),
        Column("at", "timestamp", "the broker's time of the record"),
    ),
    partition_by=("domain",),
    rows_are="One row is one Kafka record that a stream refused, with the reason. It can be fixed and replayed.",
)


POISONED = "poisoned in "


def poisoned_in(stream: str) -> str:
    """The first words of the reason of a poisoned record: no rule refused it, but `stream` failed on it."""
    return f"{POISONED}{stream}: "


def poisoned_elsewhere(reason: str, streams: Sequence[str]) -> str | None:
    """The stream that failed on a poisoned record, if it is none of `streams`; otherwise None."""
    if not streams or not reason.startswith(POISONED):
        return None
    stream = reason.removeprefix(POISONED).split(":")[0]
    return None if stream in streams else stream


def as_dead_letters(refused: DataFrame, domain: str) -> DataFrame:
    """Rows of `DEAD_LETTERS` from validated records with a `reason`."""
    return refused.select(
        F.lit(domain).alias("domain"),
        "topic",
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("value").alias("raw"),
        "reason",
        F.col("timestamp").alias("at"),
    )
