"""A source of which a partition, a calculation date, reads a window of another mart's dates."""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from types import MappingProxyType

import dagster as dg
from pyspark.sql import DataFrame, SparkSession

from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import Computation, Mart, SourceMissing
from shop_streams.marts.version import version_of
from shop_streams.settings import Settings, get_settings

_CHECKSUM = 2**64


def first_read(day: date, depth: int) -> date | None:
    """The first of the `depth` dates that end with `day`; None for all (`depth` 0)."""
    return day - timedelta(days=depth - 1) if depth else None


class Dates:
    """What a table has on each date, with sums from the first date on: any window's version is two look-ups.

    `versions` and `rows`: date (ISO) -> source version, number of rows. Dates may have gaps.
    """

    def __init__(self, versions: Mapping[str, int], rows: Mapping[str, int]) -> None:
        self._days = sorted(versions.keys() | rows.keys())
        self._rows = [0, *accumulate(rows.get(day, 0) for day in self._days)]
        # A sum is free of order, and cheap for thousands of windows of thousands of dates each.
        self._checksums = [0, *accumulate(_checksum(day, versions.get(day, 0)) for day in self._days)]

    def version(self, since: date | None, until: str, extra: int = 0) -> int:
        """The version of a window with both ends, never 0: a window without a row has one too. `extra`: what else is read."""
        first = 0 if since is None else bisect_left(self._days, since.isoformat())
        end = max(first, bisect_right(self._days, until))
        checksum = (self._checksums[end] - self._checksums[first]) % _CHECKSUM
        return version_of(self._rows[end] - self._rows[first], 1, checksum, extra)


def _checksum(day: str, version: int) -> int:
    """64 bits: a sum of smaller ones would more often be the same by accident."""
    text = f"{day} {version}".encode()
    return zlib.crc32(text) << 32 | zlib.crc32(text[::-1])


@dataclass(frozen=True, kw_only=True)
class WindowSource:
    """The dates of another mart's daily table, in a window that ends with the calculation date. `read` returns all rows.

    A version covers the versions of the dates in the window, and no other date. A calculation date that is no longer one has
    no version, so it is computed to no rows.

    Attributes:
        upstream: the mart that is read; its partitions are dates.
        dates: the calculation dates (ISO).
        depth: the number of dates that new partitions read, their own included; 0 for all. Partitions that are computed already
            keep their depth when the setting changes, until somebody computes them with another one.
        since: (calculation date, depth) -> the first date that is read; None for all.
        extra: a number of what is read besides these dates.
    """

    upstream: Mart
    dates: Callable[[Lake], Collection[str]]
    depth: Callable[[Settings], int]
    since: Callable[[date, int], date | None] = first_read
    extra: Callable[[Lake], int] = lambda _lake: 0

    @property
    def deps(self) -> tuple[dg.AssetDep, ...]:
        """The lineage shows the window of the default depth."""
        depth = self.depth(get_settings())
        mapping: dg.PartitionMapping = dg.AllPartitionMapping()
        if depth:
            mapping = dg.TimeWindowPartitionMapping(
                start_offset=1 - depth,
                allow_nonexistent_upstream_partitions=True,  # before the first day
            )
        return (dg.AssetDep(asset_key(self.upstream.table), partition_mapping=mapping),)

    def snapshot(self, lake: Lake) -> int:
        table = self.upstream.table
        version = lake.version(table)
        if version is None:
            raise SourceMissing(
                f"{table.path} does not exist yet: none of its partitions is computed. Is the sensor {self.upstream.sensor} on? "
                "See the Automation page."
            )
        return version

    def versions(
        self, lake: Lake, snapshot: int, depths: Mapping[str, int] = MappingProxyType({})
    ) -> Mapping[str, int]:
        table, default = self.upstream.table, self.depth(lake.settings)
        dates = Dates(lake.source_versions(table, snapshot), lake.row_counts(table, snapshot))
        extra = self.extra(lake)
        return {
            key: dates.version(self.since(date.fromisoformat(key), depths.get(key, default)), key, extra)
            for key in self.dates(lake)
        }

    def read(self, spark: SparkSession, lake: Lake, computation: Computation) -> DataFrame:
        return self.upstream.table.read(spark, lake.settings, computation.snapshot)
