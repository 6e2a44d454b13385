"""The table of dead letters: records that a stream refused, and rows of delivered files, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.lake import reader
from shop_streams.lake.table import ORIGIN_COLUMNS, Column, Table
from shop_streams.streaming.records import RECORD_TYPES

if TYPE_CHECKING:
    from shop_streams.settings import Settings

FILE_COLUMNS = (
    Column("file", "string", "the row's file, below its landing folder; null of a record"),
    Column(
        "line", "bigint", "the row's number in the file, from 1; null of a record, and of a file that can't be read"
    ),
)
DEAD_LETTERS = Table(
    path="dead_letters",
    columns=(
        Column("domain", "string", "the domain that refused the record or the row"),
        Column("topic", "string", "the record's topic; null of a file's row, as its partition and offset"),
        *ORIGIN_COLUMNS,
        Column(
            "raw", "binary", "the record's value, byte by byte; null when it had none. Of a file's row, its beginning"
        ),
        Column("reason", "string", "every rule that the record breaks, with the field"),
        Column("at", "timestamp", "the broker's time of the record; of a file's row, when it was read"),
        Column("key", "binary", "the record's key; null when it had none, or its stream does not read keys"),
        Column(
            "headers",
            RECORD_TYPES["headers"],
            "the record's headers, in order; null when its stream does not read them",
        ),
        *FILE_COLUMNS,
    ),
    partition_by=("domain",),
    rows_are="One row is one Kafka record that a stream refused, with the reason. It can be fixed and replayed. Or it is one row of "
    "a delivered file; it is mended there.",
)

HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))  # the column `headers` for Arrow

POISONED = "poisoned in "


def poisoned_in(stream: str) -> str:
    """The first words of the reason of a poisoned record: no rule refused it, but `stream` failed on it."""
    return f"{POISONED}{stream}: "


def letters_of(stream: str, topic: str) -> pc.Expression:
    """The letters of the topic's records that `stream` has: a record that another stream of the topic left out may be a row there."""
    reason = pc.field("reason")
    of_stream = ~pc.starts_with(reason, POISONED) | pc.starts_with(reason, poisoned_in(stream))
    return (pc.field("topic") == topic) & of_stream


def poisoned_elsewhere(reason: str, streams: Sequence[str]) -> str | None:
    """The stream that failed on a poisoned record, if it is none of `streams`; otherwise None."""
    if not streams or not reason.startswith(POISONED):
        return None
    stream = reason.removeprefix(POISONED).split(":")[0]
    return None if stream in streams else stream


def is_of_file(letter: Mapping[str, Any]) -> bool:
    """Whether the letter is of a delivered file, and not of a topic."""
    return letter.get("file") is not None


def to_replay(letters: Iterable[dict[str, Any]], named: bool) -> list[dict[str, Any]]:
    """The letters that a replay looks at: those of files only if a person `named` them, because they can't be sent."""
    return [letter for letter in letters if named or not is_of_file(letter)]


def stored_columns(settings: Settings) -> list[str]:
    """The columns that the table on disk has; [] if there is none. One of an earlier version gets new ones with its next letter."""
    found = reader.open_table(DEAD_LETTERS.uri(settings))
    there = dict(reader.schema(found)) if found is not None else {}
    return [column.name for column in DEAD_LETTERS.columns if column.name in there]


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
        *[F.lit(None).cast(column.type).alias(column.name) for column in FILE_COLUMNS],
    )
