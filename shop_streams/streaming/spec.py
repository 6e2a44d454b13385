"""What a stream is. A domain writes one `StreamSpec`; the factory makes the rest of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

from shop_streams.lake.asset import asset_key
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.records import RECORD_COLUMNS
from shop_streams.streaming.sinks import LakeSink, TopicSink, Transform, ValidateRecords
from shop_streams.topics import Topic

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.readwriter import DataStreamWriter


@dataclass(frozen=True)
class StreamContext:
    """What a sink may need to begin: the session, the settings, and this stream's checkpoint folder."""

    spark: SparkSession
    settings: Settings
    stream: str
    topic: str
    checkpoint: str


class Sink(Protocol):
    """Where a stream's records go."""

    @property
    def table(self) -> Table | None:
        """The lake table that the sink fills, or None when it fills a topic."""
        ...

    @property
    def output_topic(self) -> Topic:
        """The topic that the sink fills where it fills no table."""
        ...

    def prepare(self, context: StreamContext) -> None:
        """Create what the sink writes to."""
        ...

    def writer(self, records: DataFrame, context: StreamContext) -> DataStreamWriter:
        """Attach the sink to the streaming records (see `records.RECORD_COLUMNS`)."""
        ...

    def attempt(self, records: DataFrame, context: StreamContext) -> None:
        """Do with some records, read as a batch, all that a stream's batch does, and leave nothing behind.

        Raises whatever a stream's batch would.
        """
        ...


class Sidecar(Protocol):
    """What works beside a stream's query, in the stream's own run and under its lease."""

    def check(self) -> None:
        """Raise what ended it, if something did: the run fails then."""
        ...

    def metrics(self) -> dict[str, float]:
        """Numbers for the plots of the asset that it fills."""
        ...


@dataclass(frozen=True)
class SidecarSpec:
    """`run(settings, stream's name, epoch)` starts a sidecar for as long as the block lasts; it fills the asset `output`."""

    run: Callable[[Settings, str, int], AbstractContextManager[Sidecar]]
    output: dg.AssetKey


@dataclass(frozen=True, kw_only=True)
class StreamSpec:
    """One managed stream, from `topic` to `sink`. Most are made by `lake_stream` or `topic_stream`.

    Attributes:
        interval_seconds: the trigger's interval, out of the settings.
        fixed_settings: the settings, by name, that its checkpoint can't follow when they change.
        record_columns: what its sink gets of a record: names of `records.RECORD_TYPES`, such as `key` and `headers` too.
        reads: assets that it reads beside its topic.
        partitions: of the table that it fills, for the lineage.
    """

    name: str
    domain: str
    topic: Topic
    sink: Sink
    interval_seconds: Callable[[Settings], float] = lambda settings: settings.ingest_interval_seconds
    fixed_settings: Callable[[Settings], Mapping[str, str]] = lambda _settings: {}
    max_offsets: Callable[[Settings], int] = lambda settings: settings.max_offsets_per_trigger
    record_columns: tuple[str, ...] = RECORD_COLUMNS
    reads: tuple[dg.AssetKey, ...] = ()
    sidecar: SidecarSpec | None = None
    partitions: dg.PartitionsDefinition | None = None

    @property
    def output(self) -> dg.AssetKey:
        """The asset that it fills: its table, or its topic."""
        return asset_key(self.sink.table) if self.sink.table else topic_key(self.sink.output_topic)

    @property
    def description(self) -> str:
        """What one row, or record, of its output is."""
        return self.sink.table.rows_are if self.sink.table else self.sink.output_topic.description

    def checkpoint(self, settings: Settings) -> str:
        """The stream's checkpoint folder."""
        return f"{settings.checkpoints}/{self.name}"


def lake_stream(*, table: Table, validate: ValidateRecords, project: Transform, **more: Any) -> StreamSpec:
    """A stream that makes of each record a row of `table` or a dead letter; `more` are the attributes of `StreamSpec`.

    `validate(records, first day)` adds `event`, or `reason` for a record that breaks a rule; `project(validated)` selects the
    table's columns. The domain is the first part of the table's path.
    """
    domain = table.path.split("/")[0]
    return StreamSpec(domain=domain, sink=LakeSink(table, domain, validate, project), **more)


def topic_stream(
    *, output: Topic, transform: Callable[[DataFrame, StreamContext], DataFrame], **more: Any
) -> StreamSpec:
    """A stream that sends what `transform` makes of its records, `key` and `value`, to the topic `output`."""
    return StreamSpec(sink=TopicSink(output, transform), **more)


# Dagster shows the last part of a key alone: it says what the thing is.
def topic_key(topic: Topic) -> dg.AssetKey:
    """The asset that stands for a topic."""
    return dg.AssetKey(["kafka", f"{topic.name}_topic"])


def accounting_key(topic: Topic) -> dg.AssetKey:
    """The asset that accounts for a topic, hour by hour."""
    return dg.AssetKey(["accounting", f"{topic.name}_account"])


STREAM_TAG = ".dagster/shop_streams_stream"  # on each run of a stream; Dagster's UI hides tags with this prefix


def stream_key(spec: StreamSpec) -> dg.AssetKey:
    """The asset that stands for the stream itself, between its topic and its output."""
    return dg.AssetKey(["streams", f"{spec.name}_stream"])
