"""Kafka records as a DataFrame, and their validation: each record gets an event or a reason.

The rules are the collector's (shop_streams/rules.py), run by Spark's Python workers on Arrow batches. `from_json` is not
used: it turns numbers and objects into text, accepts single quotes and alters lone surrogates. On two cores, warm,
`aggregate` reads 262,000 events a second this way; bare Spark with `from_json`, without rules, 205,000
(`make bench ARGS=aggregate`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import msgspec.inspect
from pyspark.sql import DataFrame, SparkSession

from shop_streams.cluster import Cluster
from shop_streams.rules import MAX_AHEAD, Refused, Rules, Times, microseconds, times_at
from shop_streams.streaming.spans import Span, as_sql

if TYPE_CHECKING:
    import pyarrow as pa

RECORD_COLUMNS = ("topic", "partition", "offset", "timestamp", "value")
LAST_MOMENT = 253_402_300_799_000_000  # microseconds since 1970: the end of the year 9999, Python's last
RECORD_TYPES = {
    "topic": "string", "partition": "int", "offset": "bigint", "timestamp": "timestamp", "value": "binary",
    # For streams that ask for them (`StreamSpec.record_columns`):
    "key": "binary", "headers": "array<struct<key: string, value: binary>>",
}  # fmt: skip


def read_stream(
    spark: SparkSession,
    servers: Cluster,
    topic: str,
    max_offsets_per_trigger: int | None = None,
    columns: Sequence[str] = RECORD_COLUMNS,
    first: Mapping[int, int] | None = None,
) -> DataFrame:
    """The topic as a stream from its earliest offset; `columns` are names of `RECORD_TYPES`.

    `first`: every partition -> the offset where a new checkpoint starts; -2 for the earliest.
    """
    reader = _source(spark.readStream, servers, topic, columns=columns)
    if first is not None:
        reader = reader.option("startingOffsets", json.dumps({topic: dict(first)}))
    if max_offsets_per_trigger is not None:
        reader = reader.option("maxOffsetsPerTrigger", max_offsets_per_trigger)
    return reader.load().select(*columns)


def read_batch(spark: SparkSession, servers: Cluster, topic: str) -> DataFrame:
    """The records that the topic holds now, with `RECORD_COLUMNS`."""
    return _source(spark.read, servers, topic).load().select(*RECORD_COLUMNS)


def read_offsets(
    spark: SparkSession,
    servers: Cluster,
    topic: str,
    spans: Sequence[tuple[int, int, int]],
    columns: Sequence[str] = RECORD_COLUMNS,
) -> DataFrame:
    """The records of spans (partition, first offset, end offset); `columns` are names of `RECORD_TYPES`."""
    of: dict[int, list[Span]] = {}
    for partition, first, end in spans:
        of.setdefault(partition, []).append((first, end))
    # One source, because a plan holds some hundreds at most. It also reads what is between two spans of a partition.
    firsts = {partition: min(first for first, _ in some) for partition, some in of.items()}
    ends = {partition: max(end for _, end in some) for partition, some in of.items()}
    reader = _source(spark.read, servers, json.dumps({topic: sorted(of)}), "assign", columns)
    reader = reader.option("startingOffsets", json.dumps({topic: firsts}))
    found: DataFrame = reader.option("endingOffsets", json.dumps({topic: ends})).load()
    return found.where(as_sql(of)).select(*columns)


def _source(
    reader: Any, servers: Cluster, topic: str, how: str = "subscribe", columns: Sequence[str] = RECORD_COLUMNS
) -> Any:  # DataFrameReader or DataStreamReader
    return (
        reader.format("kafka")
        .options(**servers.spark())
        .option(how, topic)
        .option("includeHeaders", "headers" in columns)
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        .option("kafka.isolation.level", "read_committed")
        # With Kafka's default, there is a poll and a seek for every 500 records.
        .option("kafka.max.poll.records", 5000)
        # With Kafka's default of 500 ms, small batches took half a second longer (p50 0.77 s instead of 0.30 s). Presumably a
        # consumer at the end leaves a fetch open, and its next fetch waits for that one.
        .option("kafka.fetch.max.wait.ms", 20)
    )


def validate_records(
    records: DataFrame,
    rules: Rules,
    first_day: str,
    keep: Sequence[str] = RECORD_COLUMNS,
) -> DataFrame:
    """Add `event`, a struct of the rules' fields, and `reason`, the rules that the record breaks; one of the two is null.

    `first_day` (ISO date) is the earliest day of an event; `keep` are the record's columns in the result.
    """
    kept = "".join(f"{name} {RECORD_TYPES[name]}, " for name in keep)
    event = ", ".join(f"{name}: {kind}" for name, kind in spark_types(rules.model).items())
    validator = Validator(rules, first_day, tuple(keep))
    needed = records.select(*dict.fromkeys([*keep, "timestamp", "value"]))
    return needed.mapInArrow(validator.batches, f"{kept}event struct<{event}>, reason string")


def spark_types(model: type[msgspec.Struct]) -> dict[str, str]:
    """Field of a model -> Spark type: strings and literals, numbers, booleans, times."""
    fields = msgspec.inspect.type_info(model).fields  # type: ignore[attr-defined]
    return {field.name: _spark_type(field.type) for field in fields}


def _spark_type(kind: Any) -> str:
    if isinstance(kind, msgspec.inspect.UnionType):  # with None
        (kind,) = [one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType)]
    if isinstance(kind, msgspec.inspect.IntType):
        return "int" if (kind.ge, kind.le) == (-(2**31), 2**31 - 1) else "bigint"
    if isinstance(kind, msgspec.inspect.DateTimeType):
        return "timestamp"
    if isinstance(kind, msgspec.inspect.StrType | msgspec.inspect.LiteralType):
        return "string"
    if isinstance(kind, msgspec.inspect.FloatType):
        return "double"
    if isinstance(kind, msgspec.inspect.BoolType):
        return "boolean"
    raise TypeError(f"no Spark type for {kind}")


@dataclass(frozen=True)
class Validator:
    """Validates records in Spark's workers. It is pickled: plain values, and the rules by name."""

    rules: Rules
    first_day: str
    keep: tuple[str, ...]

    def batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Arrow batches of records -> the columns `keep`, `event` and `reason`."""
        import pyarrow as pa

        decode, fields = self.rules.decoder(), spark_types(self.rules.model)
        first = times_at(self.first_day, datetime(1970, 1, 1)).first
        ahead = int(MAX_AHEAD.total_seconds() * 1_000_000)
        for batch in batches:
            at = batch.column("timestamp").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
            if odd := [number for number, moment in enumerate(at) if not 0 <= moment <= LAST_MOMENT]:
                at = [min(max(moment, 0), LAST_MOMENT) for moment in at]
            events: list[Any] = []
            reasons: list[str | None] = []
            times = Times(first, 0)
            for value, moment in zip(batch.column("value").to_pylist(), at, strict=True):
                if times.latest != moment + ahead:  # many records have the same time
                    times = Times(first, moment + ahead)
                try:
                    events.append(self.rules.validate(value, times, decode))
                    reasons.append(None)
                except Refused as refused:
                    events.append(None)
                    reasons.append(str(refused))
            for number in odd:
                events[number], reasons[number] = None, "the record's time is not within the years 1970 to 9999"
            bounded = pa.array(at, pa.int64()).cast(pa.timestamp("us", "UTC")) if odd else batch.column("timestamp")
            columns = [bounded if name == "timestamp" else batch.column(name) for name in self.keep]
            columns += [_struct(events, fields), pa.array(reasons, pa.string())]
            yield pa.RecordBatch.from_arrays(columns, names=[*self.keep, "event", "reason"])


def _struct(events: list[Any], fields: Mapping[str, str]) -> pa.StructArray:
    import pyarrow as pa

    kinds = {
        "string": pa.string(),
        "int": pa.int32(),
        "bigint": pa.int64(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
    }
    arrays = []
    for name, kind in fields.items():
        values = [None if event is None else getattr(event, name) for event in events]
        if kind == "timestamp":
            moments = pa.array([None if value is None else microseconds(value) for value in values], pa.int64())
            arrays.append(moments.cast(pa.timestamp("us", "UTC")))
        else:
            arrays.append(pa.array(values, kinds[kind]))
    absent = pa.array([event is None for event in events], pa.bool_())
    return pa.StructArray.from_arrays(arrays, names=list(fields), mask=absent)
