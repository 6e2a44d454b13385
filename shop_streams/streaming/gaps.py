"""Known gaps: offsets of a topic that Kafka had deleted before the stream read them. The accounting shows them as lost.

They are in the lake, as the rows are: a lake that is restored from a backup has the gaps of that time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.lake import reader
from shop_streams.lake.table import Column, Table
from shop_streams.lake.write import append_rows
from shop_streams.streaming.spans import Span, length

if TYPE_CHECKING:
    from shop_streams.settings import Settings

KNOWN_GAPS = Table(
    path="known_gaps",
    columns=(
        Column("topic", "string"),
        Column("stream", "string", "the stream that had not read the offsets"),
        Column("topic_identity", "string", "cluster and id of the topic"),
        Column("kafka_partition", "int", "partition of the topic"),
        Column("first_offset", "bigint"),
        Column("end_offset", "bigint", "first offset after the gap"),
        Column("at", "timestamp", "when the gap was written down"),
        Column("reason", "string"),
    ),
    partition_by=("topic",),
    rows_are="One row is one range of a topic's offsets that Kafka had deleted before the stream read them.",
)
_ARROW = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64(), "timestamp": pa.timestamp("us", "UTC")}
_SCHEMA = pa.schema([(column.name, _ARROW[column.type]) for column in KNOWN_GAPS.columns])


def record_gaps(
    settings: Settings, stream: str, topic: str, identity: str, gaps: Mapping[int, Iterable[Span]], reason: str
) -> None:
    """Write down the gaps: partition -> offsets. A gap that is written down again changes no account."""
    now = datetime.now(UTC)
    rows = [
        (topic, stream, identity, partition, first, end, now, reason)
        for partition, spans in gaps.items()
        for first, end in spans
    ]
    if rows:
        columns = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)]
        append_rows(pa.table(columns, schema=_SCHEMA), KNOWN_GAPS, settings)


def lost_offsets(settings: Settings, stream: str, topic: str, within: timedelta | None = None) -> int:
    """The number of offsets in the stream's known gaps; with `within`, of those written down in this time up to now."""
    where = (pc.field("topic") == topic) & (pc.field("stream") == stream)
    if within is not None:
        where &= pc.field("at") >= pa.scalar(datetime.now(UTC) - within, pa.timestamp("us", "UTC"))
    columns = ["topic_identity", "kafka_partition", "first_offset", "end_offset"]
    spans: dict[tuple[str, int], list[Span]] = {}
    for row in reader.scan(KNOWN_GAPS.uri(settings), columns, where).to_pylist():
        key = (row["topic_identity"], row["kafka_partition"])
        spans.setdefault(key, []).append((row["first_offset"], row["end_offset"]))
    return sum(length(one) for one in spans.values())
