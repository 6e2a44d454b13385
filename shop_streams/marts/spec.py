"""What a mart is: a partitioned table that is computed from a source. A domain writes one `Mart`; the factory makes the rest.

Each row of a mart carries `source_rows`, the version of the source that its partition was computed from (see version.py).
So two logs tell which partitions are out of date, however they became so: there is nothing to remember, and nothing to lose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg
from pyspark.sql import DataFrame, SparkSession

from shop_streams.errors import ShopStreamsError
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.serve import PostgresTable
from shop_streams.marts.version import stamped
from shop_streams.settings import Settings

CLOSING_GRACE_SECONDS = 120.0  # the stream's interval and a batch: a window's last events are in the table by then
REPAIR_LIMIT_SECONDS = 900.0  # a closed partition whose source keeps changing waits so long at most
LOOK_BACK_SECONDS = 3600.0  # repairs of the last hour count
NOT_SERVED = -1  # the version of a partition that is not the same in PostgreSQL as in the lake


class SourceMissing(ShopStreamsError):
    """A mart's source does not exist yet."""


class Source(Protocol):
    """What a mart is computed from: the twin of a stream's `Sink`."""

    @property
    def assets(self) -> tuple[dg.AssetKey, ...]:
        """The assets that the mart depends on."""
        ...

    def snapshot(self, lake: Lake) -> int:
        """The state of the whole source now, for `versions` and `read`; 0 where the source keeps no earlier states.

        Raises:
            SourceMissing: it does not exist yet.
        """
        ...

    def versions(self, lake: Lake, snapshot: int) -> Mapping[str, int]:
        """The version of each partition (see version.py), without those that are empty.

        It covers everything that `read` and `Mart.rows` read for the partition. Without earlier states it is called
        before `read`: a row that comes in between makes the partition due once more, and is never missed.

        Raises:
            SourceMissing: it does not exist yet.
        """
        ...

    def read(self, spark: SparkSession, lake: Lake, key: str, snapshot: int) -> DataFrame:
        """What `Mart.rows` makes the partition `key` of; it may hold rows of other partitions too."""
        ...


def _as_read(rows: DataFrame, _key: str, _settings: Settings) -> DataFrame:
    return rows


def _nothing_more(_lake: Lake, _key: str) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Mart:
    """What a domain says of its mart.

    Attributes:
        rows: (what the source reads, partition key, settings) -> the partition's rows, without `source_rows`.
        code_version: a higher one computes every partition again.
        wait_until_closed: a live partition is computed when it has closed, not every `mart_refresh_seconds`.
        totals: (lake, partition key) -> more metadata for the UI, such as numbers that plot themselves.
        serve: the table in PostgreSQL that gets a copy of each partition.
    """

    table: Table
    source: Source
    partitions: dg.TimeWindowPartitionsDefinition
    rows: Callable[[DataFrame, str, Settings], DataFrame] = _as_read
    code_version: int = 1
    wait_until_closed: bool = False
    totals: Callable[[Lake, str], dict[str, Any]] = _nothing_more
    serve: PostgresTable | None = None

    @property
    def name(self) -> str:
        """A name for the job, the sensor and the pool: the table's path with underscores."""
        return self.table.path.replace("/", "_")

    @property
    def domain(self) -> str:
        """The domain: the first part of the table's path."""
        return self.table.path.split("/")[0]

    @property
    def partition_column(self) -> str:
        """The column that holds the partition's key."""
        return self.table.partition_by[0]

    def versions(self, lake: Lake, snapshot: int | None = None) -> dict[str, int]:
        """The version of each partition of the source, at a snapshot or now.

        Raises:
            SourceMissing: the source does not exist yet.
        """
        found = self.source.versions(lake, self.source.snapshot(lake) if snapshot is None else snapshot)
        return {key: stamped(version, self.code_version) for key, version in found.items()}

    def recorded(self, lake: Lake, in_lake: dict[str, int] | None = None) -> dict[str, int]:
        """The version that each partition was computed from; `NOT_SERVED` where PostgreSQL has another one than the lake.

        `in_lake` are the lake's versions; without it, those of the Delta log, which has no partition without rows.
        """
        found = lake.source_versions(self.table) if in_lake is None else in_lake
        return found if self.serve is None else agreed(found, self.serve.versions(lake.settings.postgres))

    def pause(self, settings: Settings, key: str, writes: Sequence[float], now: float) -> float:
        """Seconds that a partition has to wait at `now` to be computed; 0 for none. Times are epoch seconds.

        `writes` are the times of its computations, those of the last hour at least. One that still receives its ordinary
        traffic waits `mart_refresh_seconds` from one computation to the next, or until it has closed. A closed one waits
        `mart_repair_seconds`; for each computation more in the last hour, twice as long, up to 15 minutes.
        """
        closes = self.partitions.time_window_for_partition_key(key).end.timestamp() + CLOSING_GRACE_SECONDS
        live = now < closes
        if live and self.wait_until_closed:
            return closes - now
        if not writes:
            return 0.0
        repairs = sum(at >= max(closes, now - LOOK_BACK_SECONDS) for at in writes)
        interval = settings.mart_refresh_seconds if live else repair_interval(settings.mart_repair_seconds, repairs)
        return max(0.0, max(writes) + interval - now)


def repair_interval(first: float, repairs: int) -> float:
    """Seconds from the last of `repairs` in the last hour to the next one: `first`, doubled for each after the first."""
    return min(first * 2.0 ** min(max(repairs - 1, 0), 30), max(first, REPAIR_LIMIT_SECONDS))


def agreed(in_lake: Mapping[str, int], in_postgres: Mapping[str, int]) -> dict[str, int]:
    """The version of each partition where lake and PostgreSQL have the same one, and `NOT_SERVED` where they differ."""
    return {
        key: in_lake.get(key, 0) if in_lake.get(key, 0) == in_postgres.get(key, 0) else NOT_SERVED
        for key in in_lake.keys() | in_postgres.keys()
    }
