"""The specification of a stream. factory.py builds its Dagster definitions."""

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

    from shop_streams.streaming.state import StateRecovery


@dataclass(frozen=True)
class StreamContext:
    """What a sink needs for its start."""

    spark: SparkSession
    settings: Settings
    stream: str
    topic: str
    checkpoint: str


class Sink(Protocol):
    """The sink of a stream."""

    @property
    def table(self) -> Table | None:
        """The lake table that the sink fills, or None if it fills a topic."""
        ...

    @property
    def output_topic(self) -> Topic | None:
        """The topic that the sink fills, or None if it fills a table."""
        ...

    def prepare(self, context: StreamContext) -> None:
        """Create the sink's tables."""
        ...

    def writer(self, records: DataFrame, context: StreamContext) -> DataStreamWriter:
        """Attach the sink to the streaming records (see `records.RECORD_COLUMNS`)."""
        ...

    def attempt(self, records: DataFrame, context: StreamContext) -> None:
        """Process records, read as a batch, like a batch of the stream, but write nothing.

        Raises the errors that a batch of the stream would raise.
        """
        ...


class Sidecar(Protocol):
    """Work beside a stream's query, in the stream's run and under its lease."""

    def check(self) -> None:
        """Raise the error that ended the sidecar, if any; the run then fails."""
        ...

    def metrics(self) -> dict[str, float]:
        """Numbers for the plots of `SidecarSpec.output`."""
        ...


@dataclass(frozen=True)
class SidecarSpec:
    """`run(settings, stream's name, epoch)` is the context of a running sidecar, which fills the asset `output`."""

    run: Callable[[Settings, str, int], AbstractContextManager[Sidecar]]
    output: dg.AssetKey


@dataclass(frozen=True, kw_only=True)
class StreamSpec:
    """One managed stream, from `topic` to `sink`. Most are made by `lake_stream` or `topic_stream`.

    Attributes:
        interval_seconds: settings -> the trigger's interval.
        fixed_settings: settings -> name -> value of the settings that must not change while the checkpoint exists.
        record_columns: the columns that the sink gets: names of `records.RECORD_TYPES`.
        reads: assets that the stream reads, beside its topic.
        partitions: the partitions of the output asset.
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
        """The asset of the sink: a table or a topic."""
        filled = self._filled
        return asset_key(filled) if isinstance(filled, Table) else topic_key(filled)

    @property
    def description(self) -> str:
        """What one row of the table, or one record of the topic, is."""
        filled = self._filled
        return filled.rows_are if isinstance(filled, Table) else filled.description

    @property
    def _filled(self) -> Table | Topic:
        filled = self.sink.table or self.sink.output_topic
        assert filled is not None, "a sink fills a table or a topic"
        return filled

    def checkpoint(self, settings: Settings) -> str:
        """The stream's checkpoint folder."""
        return f"{settings.checkpoints}/{self.name}"


def lake_stream(
    *,
    table: Table,
    validate: ValidateRecords,
    project: Transform,
    parameters: Callable[[Settings], Mapping[str, str]] = lambda _settings: {},
    **more: Any,
) -> StreamSpec:
    """A stream from a topic to `table` and dead letters; `validate`, `project` and `parameters` as in `LakeSink`.

    `more` are attributes of `StreamSpec`. The domain is the first part of the table's path.
    """
    domain = table.path.split("/")[0]
    return StreamSpec(domain=domain, sink=LakeSink(table, domain, validate, project, parameters), **more)


def topic_stream(
    *,
    output: Topic,
    transform: Callable[[DataFrame, StreamContext], DataFrame],
    recovery: StateRecovery | None = None,
    **more: Any,
) -> StreamSpec:
    """A stream from a topic to the topic `output`; `transform` and `recovery` as in `TopicSink`, `more` as in `StreamSpec`."""
    return StreamSpec(sink=TopicSink(output, transform, recovery=recovery), **more)


# Dagster shows only the last part of a key, so it says what the asset is.
def topic_key(topic: Topic) -> dg.AssetKey:
    """The asset key of a topic."""
    return dg.AssetKey(["kafka", f"{topic.name}_topic"])


def accounting_key(topic: Topic) -> dg.AssetKey:
    """The asset key of a topic's hourly account."""
    return dg.AssetKey(["accounting", f"{topic.name}_account"])


STREAM_TAG = ".dagster/shop_streams_stream"  # on each run of a stream; Dagster's UI hides tags with this prefix


def stream_key(spec: StreamSpec) -> dg.AssetKey:
    """The asset key of the stream itself, between its topic and its output."""
    return dg.AssetKey(["streams", f"{spec.name}_stream"])
