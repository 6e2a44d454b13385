"""How partitions of a mart are computed: the same way for the asset's runs and for the initial load."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import groupby
from types import MappingProxyType

import dagster as dg
import psycopg2
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from shop_streams.beats import ProcessBeats
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.lake.write import in_partitions, overwrite_partition
from shop_streams.marts.failures import MartFailures
from shop_streams.marts.metadata import SECONDS, VERSION_COLUMN, partition_metadata, read_back
from shop_streams.marts.repair import FAILED_PARTITIONS_TAG, MART_TAG, PROCESS_TAG
from shop_streams.marts.spec import DEPTH_COLUMN, Computation, Mart
from shop_streams.marts.version import rows_of
from shop_streams.runs import this_process
from shop_streams.settings import Settings
from shop_streams.spark import SparkConnect
from shop_streams.streaming.query import probe_spark

ROWS_AT_ONCE = 3_000_000  # that the partitions of one Spark job read, each by itself: bounds the memory
FAR = timedelta(days=31)  # partitions that are further apart are no group: it may read everything between them


class PartitionsFailed(dg.Failure):
    """Some partitions can't be computed; all other partitions of the run are written."""


@dataclass(frozen=True)
class Work:
    """Partitions to compute.

    Attributes:
        keys: the partitions, in any order.
        snapshot: the source's state.
        versions: partition -> source version at `snapshot`; without one, the partition gets no rows.
        depths: partition -> depth of its window; without one, the setting's. It is the one that `versions` were asked for with.
    """

    keys: Sequence[str]
    snapshot: int
    versions: Mapping[str, int]
    depths: Mapping[str, int] = field(default_factory=dict)


def computations(
    mart: Mart, work: Work, settings: Settings, sizes: Mapping[str, int] = MappingProxyType({})
) -> list[Computation]:
    """The partitions in ascending order, in groups with the same depth, none far from the next one.

    A group has at most `Mart.at_once` partitions, and one or at most `ROWS_AT_ONCE` rows: those in `sizes`, or in the version.
    """
    default = mart.windowed.depth(settings) if mart.windowed else None
    done = list[Computation]()
    for depth, group in groupby(sorted(set(work.keys)), lambda key: work.depths.get(key, default)):
        keys, rows, before = list[str](), 0, None
        for key in group:
            more = sizes.get(key, rows_of(work.versions.get(key, 0)))
            start = mart.partitions.start_time_for_partition_key(key)
            far = before is not None and start - before > FAR
            if keys and (len(keys) == mart.at_once or rows + more > ROWS_AT_ONCE or far):
                done.append(Computation(tuple(keys), work.snapshot, settings, depth))
                keys, rows = [], 0
            keys.append(key)
            rows, before = rows + more, start
        done.append(Computation(tuple(keys), work.snapshot, settings, depth))
    return done


def compute(
    mart: Mart, lake: Lake, spark: SparkSession, computation: Computation, versions: Mapping[str, int]
) -> Iterator[dg.AssetMaterialization]:
    """Compute the partitions and replace them, in the lake (one commit) and in PostgreSQL if the mart is served there.

    A partition without a version does not exist in the source, so it gets no rows, whatever `Mart.rows` would give.
    """
    began = time.monotonic()
    mart.prepare(spark, lake, computation)
    existing = tuple(key for key in computation.keys if versions.get(key, 0))
    if existing:
        of_existing = replace(computation, keys=existing)
        rows = mart.rows(mart.source.read(spark, lake, of_existing), of_existing)
        rows = rows.withColumn(VERSION_COLUMN, _version_column(mart, existing, versions))
        if computation.depth is not None:
            rows = rows.withColumn(DEPTH_COLUMN, F.lit(computation.depth))
    else:
        rows = _no_rows(mart, spark)
    overwrite_partition(rows, mart.table, lake.settings, in_partitions(mart.table, computation.keys))
    seconds = (time.monotonic() - began) / len(computation.keys)
    for key, written in read_back(lake, mart, computation.keys).items():
        version = versions.get(key, 0)
        if mart.serve is not None:
            mart.serve.replace(lake.settings.postgres, key, version, written.rows.to_pylist())
        of_partition = partition_metadata(mart.table, written, version, computation.depth)
        metadata = {**mart.totals(lake, key), SECONDS: round(seconds, 1), **of_partition}
        yield dg.AssetMaterialization(asset_key(mart.table), partition=key, metadata=metadata)


def _version_column(mart: Mart, keys: Sequence[str], versions: Mapping[str, int]) -> Column:
    if len(keys) == 1:
        return F.lit(versions[keys[0]]).cast("bigint")
    pairs = [F.lit(value) for key in keys for value in (key, versions[key])]
    return F.create_map(*pairs)[F.col(mart.partition_column).cast("string")].cast("bigint")


def _no_rows(mart: Mart, spark: SparkSession) -> DataFrame:
    return spark.range(0).select(*[F.lit(None).cast(one.type).alias(one.name) for one in mart.table.columns])


def compute_all(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, mart: Mart, lake: Lake, spark: SparkConnect, work: Work
) -> dict[str, Exception]:
    """Compute partitions, report each as soon as it is written, and return the errors of those that can't be computed.

    If a group fails, its partitions are computed one by one, so that a failing one fails alone.
    """
    failures, failed = MartFailures(lake.settings.postgres, mart.name), dict[str, Exception]()
    to_do, written = computations(mart, work, lake.settings, mart.sizes(lake, work.keys)), set[str]()
    count = sum(len(group.keys) for group in to_do)

    def attempt(computation: Computation) -> Exception | None:
        try:
            for done in compute(mart, lake, spark.spark_session, computation, work.versions):
                context.log_event(done)
                failures.forget(str(done.partition))
                written.add(str(done.partition))
        except psycopg2.OperationalError:  # without PostgreSQL, all other partitions fail too
            raise
        except Exception as error:  # any error here concerns these partitions only
            probe_spark(lake.settings)
            return error
        return None

    for group in to_do:
        error = attempt(group)
        left = [key for key in group.keys if key not in written]
        if error and len(group.keys) > 1:
            span = f"{group.keys[0]} to {group.keys[-1]}"
            context.log.warning(f"{mart.table.path}: {span} are computed one by one, because: {error}")
        for key in left:
            if len(group.keys) > 1:
                error = attempt(replace(group, keys=(key,)))
            if error:
                failed[key] = error
                failures.count(key)
        if len(to_do) > 1:
            context.log.info(
                f"{mart.table.path}: {len(written)} of {count} partitions are written, the last is {group.keys[-1]}"
            )
    if failed:
        context.instance.add_run_tags(context.run.run_id, {FAILED_PARTITIONS_TAG: "yes"})
    return failed


def partitions_failed(mart: Mart, failed: dict[str, Exception]) -> PartitionsFailed:
    """The failure of a run whose partitions have these errors."""
    first, reason = next(iter(failed.items()))
    failure = PartitionsFailed(
        f"{len(failed)} partitions of {mart.table.path} can't be computed, the first: {first}: {reason}",
        metadata={
            "partitions": ", ".join(failed),
            "next_step": "All other partitions of this run are written. Mend the cause. The repair sensor computes these again, "
            "each after its own growing pauses.",
        },
        allow_retries=False,
    )
    failure.__cause__ = reason
    return failure


def claim(instance: dg.DagsterInstance, run_id: str, mart: Mart, dsn: str) -> None:
    """Write the mart and this process into the run's tags, and beat: the sensor can then detect a dead run."""
    instance.add_run_tags(run_id, {MART_TAG: mart.name, PROCESS_TAG: this_process()})
    ProcessBeats(dsn).beat_until_the_end(this_process())
