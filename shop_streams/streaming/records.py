"""Kafka records as a DataFrame, and the rules that decide between a row and a dead letter.

Pure but for `read_stream` and `read_batch`: no clock, no I/O. The rules run once a record, in one pass: the
parsed value and the reason are columns of the same projection.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

RECORD_COLUMNS = ("topic", "partition", "offset", "timestamp", "value")
CORRUPT = "_corrupt"
MAX_VALUE_BYTES = 1_048_576  # no event is that large; Kafka's own default is 12 bytes more
MAX_AHEAD = "interval 1 hour"  # of the broker's time: one event from the future would make everybody late

Rule = tuple[Column, str]


def read_stream(spark: SparkSession, servers: str, topic: str, max_offsets_per_trigger: int | None = None) -> DataFrame:
    """The topic as a stream from its earliest offset, columns as `RECORD_COLUMNS`."""
    reader = _source(spark.readStream, servers, topic)
    if max_offsets_per_trigger is not None:
        reader = reader.option("maxOffsetsPerTrigger", max_offsets_per_trigger)
    return reader.load().select(*RECORD_COLUMNS)


def read_batch(spark: SparkSession, servers: str, topic: str) -> DataFrame:
    """What the topic holds now, columns as `RECORD_COLUMNS`."""
    return _source(spark.read, servers, topic).load().select(*RECORD_COLUMNS)


def _source(reader, servers: str, topic: str):  # DataFrameReader or DataStreamReader
    return (
        reader.format("kafka")
        .option("kafka.bootstrap.servers", servers)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        # Kafka's default of 500 makes a poll, and a seek, for every 500 records.
        .option("kafka.max.poll.records", 5000)
        # With Kafka's default of 500 ms, most batches of a few campaigns took half a second longer (p50 0.77 s, not 0.30):
        # presumably a consumer that has read all leaves a fetch open, and its next one waits for the answer to that.
        .option("kafka.fetch.max.wait.ms", 20)
    )


def parse_json(records: DataFrame, fields: str) -> DataFrame:
    """Add `event`, the value parsed as a struct of `fields` (DDL); what does not fit is told in `event._corrupt`."""
    text = F.col("value").cast("string")
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
    return records.withColumn("event", F.from_json(text, f"{fields}, {CORRUPT} string", options))


def _one_object(text: Column) -> Column:
    """Whether the text is one JSON object and nothing more: Spark's parser ignores what follows the first value.

    The usual flat object has its only brace at the end, which is cheap to see (on bytes: Spark's functions on
    strings look at each character). Others are parsed again, wrapped in an array.
    """
    but_last = F.substring("value", F.lit(1), F.octet_length("value") - 1).cast("string")
    usual = F.startswith(text, F.lit("{")) & F.endswith(text, F.lit("}")) & ~F.contains(but_last, F.lit("}"))
    wrapped = F.from_json(F.concat(F.lit("["), text, F.lit("]")), "array<string>")
    exact = F.startswith(F.ltrim(text), F.lit("{")) & (F.coalesce(F.size(wrapped), F.lit(-1)) == 1)
    return usual | exact


def value_rules() -> list[Rule]:
    """Rules that every JSON topic has: (condition that refuses, reason)."""
    text = F.col("value").cast("string")
    size = F.octet_length("value")
    return [
        (F.col("value").isNull() | (size == 0), "empty value"),
        (size > MAX_VALUE_BYTES, f"value larger than {MAX_VALUE_BYTES} bytes"),
        (~F.is_valid_utf8(text), "invalid UTF-8"),
        (F.col("event").isNull(), "not a JSON object"),
        (F.col(f"event.{CORRUPT}").isNotNull(), "not JSON, or a field of the wrong type"),
        (~_one_object(text), "not exactly one JSON object"),
    ]


def required(*names: str, text: Sequence[str] = ()) -> list[Rule]:
    """Rules that refuse a record in which one of these fields is missing or null, or one of `text` empty."""
    fields = {name: F.col(f"event.{name}") for name in (*names, *text)}
    return [
        (F.isnull(field) | (field == "") if name in text else F.isnull(field), f"{name} is missing")
        for name, field in fields.items()
    ]


def time_rules(event_time: Column, first_day: str) -> list[Rule]:
    """Rules that refuse times before `first_day` (ISO date) and more than an hour ahead of the broker's time."""
    return [
        (
            event_time < F.lit(first_day).cast("timestamp"),
            f"event time before {first_day}; are the units right?",
        ),
        (
            event_time > F.col("timestamp") + F.expr(MAX_AHEAD),
            "event time more than an hour ahead of the broker's",
        ),
    ]


def with_reason(records: DataFrame, rules: Sequence[Rule]) -> DataFrame:
    """Add `reason`: the first rule that refuses the record, null when none does."""
    reason = F.lit(None).cast("string")
    for refuses, text in reversed(rules):
        reason = F.when(refuses, F.lit(text)).otherwise(reason)
    return records.withColumn("reason", reason)
