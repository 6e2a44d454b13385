"""A table of dead letters made without Spark."""

import pyarrow as pa
from deltalake import DeltaTable

from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS

KINDS = {name: pa.string() for name in ("domain", "topic", "reason", "file")} | {
    "kafka_partition": pa.int32(), "kafka_offset": pa.int64(), "at": pa.timestamp("us", "UTC"), "raw": pa.binary(),
    "key": pa.binary(), "headers": pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())])), "line": pa.int64(),
}  # fmt: skip
SCHEMA = pa.schema([(column.name, KINDS[column.name]) for column in DEAD_LETTERS.columns])


def create_letters(settings: Settings) -> DeltaTable:
    """The table with its columns, empty."""
    return DeltaTable.create(DEAD_LETTERS.uri(settings), SCHEMA, partition_by=list(DEAD_LETTERS.partition_by))
