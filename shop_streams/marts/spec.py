"""The specification of a mart: a partitioned table that is computed from a source. factory.py builds its definitions.

Each row of a mart carries `source_rows`, the source version that its partition was computed from (see version.py). The
repair sensor compares it with the source's version now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import dagster as dg
from pyspark.sql import DataFrame, SparkSession

from shop_streams.errors import ShopStreamsError
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.serve import PostgresCopy, agreed
from shop_streams.marts.version import stamped
from shop_streams.settings import Settings

CLOSING_GRACE_SECONDS = 120.0  # the stream's interval and one batch: then a window's last events are in the table
REPAIR_LIMIT_SECONDS = 900.0  # the longest pause of a closed partition whose source keeps changing
LOOK_BACK_SECONDS = 3600.0  # repairs within this time count
LONG_SECONDS, REST = 120.0, 3  # after a computation that took longer, a partition waits so many times as long
DEPTH_COLUMN = "depth_days"


class Write(NamedTuple):
    """A computation of a partition: its end, epoch seconds, and how many seconds it took."""

    at: float
    seconds: float = 0.0


class SourceMissing(ShopStreamsError):
    """A mart's source does not exist yet."""


class SourceUnfinished(SourceMissing):
    """The source has read a part of a long history and kept it. The next call goes on."""


@dataclass(frozen=True)
class Computation:
    """One computation of partitions.

    Attributes:
        keys: the partitions, ascending.
        snapshot: the source's state, as `Source.snapshot` gave it.
        depth: of a windowed source: the number of dates that each partition reads, its own included; 0 for all.
    """

    keys: tuple[str, ...]
    snapshot: int
    settings: Settings
    depth: int | None = None

    @property
    def key(self) -> str:
        """The only partition.

        Raises:
            ValueError: there are several.
        """
        (key,) = self.keys
        return key


class Source(Protocol):
    """What a mart is computed from."""

    @property
    def deps(self) -> Sequence[dg.AssetKey | dg.AssetDep]:
        """The assets that the mart depends on; an `AssetDep` if it does not read the partitions of the same time."""
        ...

    def snapshot(self, lake: Lake) -> int:
        """The source's state now, as an argument for `versions` and `read`; 0 if the source keeps no earlier states.

        Raises:
            SourceMissing: the source does not exist yet.
        """
        ...

    def versions(self, lake: Lake, snapshot: int) -> Mapping[str, int]:
        """Partition -> version (see version.py), without empty partitions.

        The version covers everything that `read` and `Mart.rows` read for the partition. `versions` is called before
        `read`. If a row arrives in between, the partition is computed once more.

        Raises:
            SourceMissing: the source does not exist yet.
        """
        ...

    def read(self, spark: SparkSession, lake: Lake, computation: Computation) -> DataFrame:
        """The input of `Mart.rows`; it may contain rows of other partitions."""
        ...


@runtime_checkable
class WindowedSource(Source, Protocol):
    """A source of which each partition reads a window of dates. Runs of the mart then have the configuration `depth_days`.

    The mart's table needs a column `depth_days` (int): 0 for all dates. A partition keeps the depth that it was computed with:
    a repair, and another setting, don't change it.
    """

    @property
    def depth(self) -> Callable[[Settings], int]:
        """The number of dates that new partitions read, their own included; 0 for all."""
        ...

    def versions(
        self, lake: Lake, snapshot: int, depths: Mapping[str, int] = MappingProxyType({})
    ) -> Mapping[str, int]:
        """`Source.versions` with the depth of each partition; without one, `depth` counts."""
        ...


@dataclass(frozen=True, kw_only=True)
class Mart:
    """One mart.

    Attributes:
        rows: (`Source.read`, computation) -> the rows of its partitions, without `source_rows`.
        at_once: so many partitions may be computed by one Spark job and written in one commit, if they don't read too many rows,
            and are at most a month apart. `rows` then gets several keys.
        sizes: (lake, partition keys) -> partition -> about how many rows it reads, if the version counts something else.
        prepare: called before a computation's partitions are written.
        waits: why the sensor requests nothing now, in words, or None; see `compare.unsettled`.
        level: 0, or one more than that of the mart that it reads. A backfill of several levels is a run for each.
        code_version: raise it to compute every partition again.
        run_partitions: the sensor's run computes at most so many partitions, the newest ones; 0 for no limit. With short
            partitions, a live one would otherwise wait for hours, until a long history is computed.
        wait_until_closed: compute a partition only after its window has closed, not every `mart_refresh_seconds`.
        totals: (lake, partition key) -> more metadata for the UI, such as numbers to plot.
        serve: the tables in PostgreSQL that get a copy of each partition.
    """

    table: Table
    source: Source
    partitions: dg.TimeWindowPartitionsDefinition
    rows: Callable[[DataFrame, Computation], DataFrame] = lambda rows, _computation: rows
    at_once: int = 1
    sizes: Callable[[Lake, Sequence[str]], Mapping[str, int]] = lambda _lake, _keys: {}
    prepare: Callable[[SparkSession, Lake, Computation], None] = lambda _spark, _lake, _computation: None
    waits: Callable[[Lake, dg.DagsterInstance], str | None] = lambda _lake, _instance: None
    level: int = 0
    code_version: int = 1
    run_partitions: int = 0
    wait_until_closed: bool = False
    totals: Callable[[Lake, str], dict[str, Any]] = lambda _lake, _key: {}
    serve: PostgresCopy | None = None

    @property
    def name(self) -> str:
        """The name of the job and the pool: the table's path with underscores."""
        return self.table.path.replace("/", "_")

    @property
    def sensor(self) -> str:
        """The name of its repair sensor."""
        return f"repair_{self.name}"

    @property
    def domain(self) -> str:
        """The domain: the first part of the table's path."""
        return self.table.path.split("/")[0]

    @property
    def partition_column(self) -> str:
        """The column that holds the partition's key."""
        return self.table.partition_by[0]

    @cached_property  # each tick asks, and the check evaluates the source's properties
    def windowed(self) -> WindowedSource | None:
        """The source, if its partitions read windows of dates."""
        return self.source if isinstance(self.source, WindowedSource) else None

    def depths(self, lake: Lake) -> dict[str, int]:
        """Partition with rows -> depth that it was computed with; {} for a mart that reads no windows."""
        return lake.largest(self.table, DEPTH_COLUMN) if self.windowed else {}

    def versions(
        self, lake: Lake, snapshot: int | None = None, depths: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """Partition -> version of the source, at a snapshot or now.

        Raises:
            SourceMissing: the source does not exist yet.
            SourceUnfinished: reading a long history takes more calls. With a snapshot, it is read to its end.
        """
        while True:
            try:
                at = self.source.snapshot(lake) if snapshot is None else snapshot
                if (source := self.windowed) is None:
                    found = self.source.versions(lake, at)
                else:
                    found = source.versions(lake, at, self.depths(lake) if depths is None else depths)
                break
            except SourceUnfinished:
                if snapshot is None:
                    raise
        return {key: stamped(version, self.code_version) for key, version in found.items()}

    def recorded(self, lake: Lake) -> dict[str, int]:
        """Partition -> source version that it was computed from; `NOT_SERVED` if PostgreSQL and the lake differ.

        The lake's versions are the Delta log's, which lack partitions without rows.
        """
        found = lake.source_versions(self.table)
        return found if self.serve is None else agreed(found, self.serve.versions(lake.settings.postgres))

    def pause(self, settings: Settings, key: str, writes: Sequence[Write], now: float) -> float:
        """Seconds that a partition has to wait at `now` before it is computed; 0 for none. Times are epoch seconds.

        `writes` are its computations, at least of the last hour. A live partition waits `mart_refresh_seconds`
        after its last computation, or until it has closed (`wait_until_closed`). A closed partition waits
        `mart_repair_seconds`, doubled for each further computation in the last hour, up to 15 minutes. After a long computation,
        both wait `REST` times as long as it took: a partition that takes minutes must not occupy the machine.
        """
        closes = self.partitions.time_window_for_partition_key(key).end.timestamp() + CLOSING_GRACE_SECONDS
        live = now < closes
        if live and self.wait_until_closed:
            return closes - now
        writes = [one for one in writes if one.at <= now]  # the others are of before a clock was set back
        if not writes:
            return 0.0
        newest = max(writes)
        repairs = sum(one.at >= max(closes, now - LOOK_BACK_SECONDS) for one in writes)
        interval = settings.mart_refresh_seconds if live else repair_interval(settings.mart_repair_seconds, repairs)
        rest = min(REST * newest.seconds, LOOK_BACK_SECONDS) if newest.seconds > LONG_SECONDS else 0.0
        return max(0.0, newest.at + max(interval, rest) - now)


def repair_interval(first: float, repairs: int) -> float:
    """Seconds to wait after the last of `repairs` in the last hour: `first`, doubled for each repair after the first."""
    return min(first * 2.0 ** min(max(repairs - 1, 0), 30), max(first, REPAIR_LIMIT_SECONDS))
