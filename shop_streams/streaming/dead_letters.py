"""The table of dead letters: records that a stream refused, with the reason."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.lake.table import ORIGIN_COLUMNS, Column, Table
from shop_streams.streaming.records import RECORD_TYPES

DEAD_LETTERS = Table(
    path="dead_letters",
    columns=(
        Column("domain", "string", "the domain whose stream refused the record"),
        Column("topic", "string", "the record's topic"),
        *ORIGIN_COLUMNS,
        Column("raw", "binary", "the record's value, byte by byte; null when it had none"),
        Column("reason", "string", "every rule that the record breaks, with the field"),
        Column("at", "timestamp", "the broker's time of the record"),
        Column("key", "binary", "the record's key; null when it had none, or its stream does not read keys"),
        Column(
            "headers",
            RECORD_TYPES["headers"],
            "the record's headers, in order; null when its stream does not read them",
        ),
    ),
    partition_by=("domain",),
    rows_are="One row is one Kafka record that a stream refused, with the reason. It can be fixed and replayed.",
)

HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))  # the column `headers` for Arrow

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
    """Rows of `DEAD_LETTERS` from validated records with a `reason`.

    Key and headers are kept if the records have these columns: a stream asks for them (`StreamSpec.record_columns`) and keeps
    them in `validate` when its records mean nothing without them.
    """
    there = set(refused.columns)
    return refused.select(
        F.lit(domain).alias("domain"),
        "topic",
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("value").alias("raw"),
        "reason",
        F.col("timestamp").alias("at"),
        *[
            F.col(name) if name in there else F.lit(None).cast(RECORD_TYPES[name]).alias(name)
            for name in ("key", "headers")
        ],
    )
