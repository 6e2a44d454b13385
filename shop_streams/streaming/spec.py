"""What a stream is. A domain writes one `StreamSpec`; the factory makes the rest of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import dagster as dg

from shop_streams.lake.table import Table
from shop_streams.settings import Settings
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


class Companion(Protocol):
    """What works beside a stream's query, in the stream's own run and under its lease."""

    def check(self) -> None:
        """Raise what ended it, if something did: the run fails then."""
        ...

    def metrics(self) -> dict[str, float]:
        """Numbers for the plots of the asset that it fills."""
        ...


@dataclass(frozen=True)
class Beside:
    """`run(settings, stream's name, epoch)` starts a companion for as long as the block lasts; it fills the asset `output`."""

    run: Callable[[Settings, str, int], AbstractContextManager[Companion]]
    output: dg.AssetKey


@dataclass(frozen=True)
class StreamSpec:
    """One managed stream, from `topic` to `sink`; its output is the asset `output`.

    `interval_seconds` gives the trigger's interval out of the settings; `description` is what the UI shows, and
    says what one row of the output is. `pinned` gives the settings, by name, that its checkpoint can't follow when
    they change. `reads` are assets that it reads beside its topic.
    """

    name: str
    domain: str
    topic: Topic
    sink: Sink
    output: dg.AssetKey
    description: str
    interval_seconds: Callable[[Settings], float]
    pinned: Callable[[Settings], Mapping[str, str]] = lambda _settings: {}
    max_offsets: Callable[[Settings], int] = lambda settings: settings.max_offsets_per_trigger
    reads: tuple[dg.AssetKey, ...] = ()
    beside: Beside | None = None
    owners: tuple[str, ...] = ("team:data-platform",)

    def checkpoint(self, settings: Settings) -> str:
        """The stream's checkpoint folder."""
        return f"{settings.checkpoints}/{self.name}"


def stream_key(spec: StreamSpec) -> dg.AssetKey:
    """The asset that stands for the stream itself, between its topic and its output."""
    return dg.AssetKey(["streams", spec.name])
