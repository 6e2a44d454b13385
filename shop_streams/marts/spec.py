"""A mart: a partitioned table computed from a streamed one. A domain writes one `Mart`; `build_mart` makes the rest of it.

Each row of a mart carries `source_rows`, the number of source rows that its partition was computed from. Streamed
tables only grow, so that number is a version, and the two Delta logs tell which partitions are out of date.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import psycopg2
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.beats import ProcessBeats
from shop_streams.lake import reader
from shop_streams.lake.asset import asset_key, column_schema
from shop_streams.lake.table import Table
from shop_streams.lake.write import overwrite_partition
from shop_streams.marts.failures import MartFailures
from shop_streams.marts.metadata import partition_metadata
from shop_streams.runs import this_process
from shop_streams.settings import Settings, get_settings
from shop_streams.spark import SparkConnect
from shop_streams.streaming.run import probe_spark

# Dagster's UI hides tags with this prefix: they are ours to read, and made each row of the list of runs four lines high.
MART_TAG = ".dagster/shop_streams_mart"
PROCESS_TAG = ".dagster/shop_streams_process"
FAILED_PARTITIONS_TAG = (
    ".dagster/shop_streams_failed_partitions"  # on a run that failed for some of its partitions only
)
CLOSING_GRACE_SECONDS = 120.0  # the stream's interval and a batch: a window's last events are in the table by then
MAX_RUNTIME_SECONDS = 3600  # Dagster's monitoring ends a mart's run after this, should nobody else notice that it hangs


class PartitionsFailed(dg.Failure):
    """Some partitions can't be computed; all others of the run are written."""


def _nothing_more(_settings: Settings, _key: str) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Mart:
    """What a domain says of its mart.

    Attributes:
        rows: (the source's rows at one version, partition key) -> the partition's rows, without `source_rows`.
        source_rows: (settings, version of the source or None for now) -> rows of the source for each partition key.
        wait_until_closed: a live partition is computed when it has closed, not every `mart_refresh_seconds`.
        totals: (settings, partition key) -> more metadata for the UI, such as numbers that plot themselves.
        reads: assets that it is computed from beside `source`.
    """

    table: Table
    source: Table
    partitions: dg.TimeWindowPartitionsDefinition
    rows: Callable[[DataFrame, str], DataFrame]
    source_rows: Callable[[Settings, int | None], dict[str, int]]
    wait_until_closed: bool = False
    totals: Callable[[Settings, str], dict[str, Any]] = _nothing_more
    reads: tuple[dg.AssetKey, ...] = ()

    @property
    def name(self) -> str:
        """A name for jobs, sensors and pools: the table's path with underscores."""
        return self.table.path.replace("/", "_")

    @property
    def domain(self) -> str:
        """The domain: the first part of the table's path."""
        return self.table.path.split("/")[0]

    @property
    def partition_column(self) -> str:
        """The column that holds the partition's key."""
        return self.table.partition_by[0]

    def pause(self, settings: Settings, key: str, written: float | None, now: float) -> float:
        """Seconds that a partition last written at `written` has to wait at `now` (epoch seconds) to be computed; 0 for none.

        One that still receives its ordinary traffic waits `mart_refresh_seconds` from one computation to the next, or until
        it has closed; a closed one `mart_repair_seconds`, so that late events that keep coming don't take the whole machine.
        """
        closes = self.partitions.time_window_for_partition_key(key).end.timestamp() + CLOSING_GRACE_SECONDS
        live = now < closes
        if live and self.wait_until_closed:
            return closes - now
        interval = settings.mart_refresh_seconds if live else settings.mart_repair_seconds
        return max(0.0, written + interval - now) if written else 0.0

    def recorded(self, settings: Settings) -> dict[str, int]:
        """The rows of the source that each partition was computed from, out of the mart's own Delta log."""
        return reader.source_versions(self.table.uri(settings), self.partition_column)

    def written_at(self, settings: Settings) -> dict[str, float]:
        """When each partition was last written, epoch seconds, out of the mart's own Delta log."""
        return reader.written_at(self.table.uri(settings), self.partition_column)

    def recompute(self, spark: SparkConnect, keys: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Compute and replace each partition in turn; yields its key and metadata once it is written.

        Raises:
            dg.Failure: the source does not exist yet.
            PartitionsFailed: once all others are written, a partition can't be computed.
            SparkGone: Spark's server does not answer any more.
        """
        settings = get_settings()
        version = reader.version(self.source.uri(settings))  # one snapshot for the rows and for their number
        if version is None:
            raise dg.Failure(
                f"{self.source.path} does not exist yet: its stream has not written a batch.",
                metadata={"next_step": "See the Automation page: the stream's switch must be on."},
                allow_retries=False,
            )
        source = self.source.read(spark.spark_session, settings, version)
        counts = self.source_rows(settings, version)
        failed: dict[str, Exception] = {}
        failures = MartFailures(settings.postgres, self.name)
        for key in keys:
            source_rows = counts.get(key, 0)
            try:
                rows = self.rows(source, key).withColumn("source_rows", F.lit(source_rows).cast("bigint"))
                overwrite_partition(rows, self.table, settings, f"{self.partition_column} = '{key}'")
            except psycopg2.OperationalError:  # without a server there is no use in trying the others
                raise
            except Exception as error:  # whatever it is, it is this partition's
                probe_spark(settings)
                failed[key] = error
                failures.count(key)
                continue
            failures.forget(key)
            metadata = partition_metadata(self.table, settings, self.partition_column, key)
            yield key, {**self.totals(settings, key), "source_rows": str(source_rows), **metadata}
        if failed:
            first, reason = next(iter(failed.items()))
            raise PartitionsFailed(
                f"{len(failed)} partitions of {self.table.path} can't be computed, the first: {first}: {reason}",
                metadata={
                    "partitions": ", ".join(failed),
                    "next_step": "All others of this run are written. Mend the cause; the repair sensor tries these again, each with "
                    "growing pauses of its own.",
                },
                allow_retries=False,
            ) from reason


def build_asset(mart: Mart, owners: Sequence[str]) -> dg.AssetsDefinition:
    """The mart as an asset: a person, a backfill or the repair sensor materializes a partition or a range of them."""

    @dg.asset(
        key=asset_key(mart.table),
        deps=[asset_key(mart.source), *mart.reads],
        partitions_def=mart.partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=mart.domain,
        kinds={"spark", "deltalake"},
        owners=list(owners),
        pool=mart.name,
        description=mart.table.rows_are,
        metadata={"dagster/column_schema": column_schema(mart.table)},
    )
    def mart_asset(context: dg.AssetExecutionContext, spark: SparkConnect) -> None:
        claim(context.instance, context.run.run_id, mart)
        written: dict[str, dict[str, Any]] = {}
        try:
            for key, metadata in mart.recompute(spark, context.partition_keys):
                context.add_asset_metadata(metadata, partition_key=key)
                written[key] = metadata
        except (
            PartitionsFailed
        ):  # Dagster records nothing of a step that fails; these partitions are there all the same
            for key, metadata in written.items():
                context.log_event(dg.AssetMaterialization(asset_key(mart.table), partition=key, metadata=metadata))
            context.instance.add_run_tags(context.run.run_id, {FAILED_PARTITIONS_TAG: "yes"})
            raise

    return mart_asset


class RepairConfig(dg.Config):
    """Partition keys to recompute, in any order and with any gaps between them."""

    partitions: list[str]


def build_repair_job(mart: Mart) -> dg.JobDefinition:
    """One run for scattered partitions: Dagster's own single-run backfill takes unbroken ranges only."""

    @dg.op(name=f"recompute_{mart.name}", pool=mart.name, tags={"dagster/compute_kind": "spark"})
    def recompute(context: dg.OpExecutionContext, config: RepairConfig, spark: SparkConnect) -> None:
        claim(context.instance, context.run_id, mart)
        try:
            for key, metadata in mart.recompute(spark, config.partitions):
                context.log_event(dg.AssetMaterialization(asset_key(mart.table), partition=key, metadata=metadata))
        except PartitionsFailed:
            context.instance.add_run_tags(context.run_id, {FAILED_PARTITIONS_TAG: "yes"})
            raise

    @dg.job(
        name=f"repair_{mart.name}",
        description=f"Recomputes the listed partitions of {mart.table.path}, and no other, in one run.",
        executor_def=dg.in_process_executor,
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
    )
    def repair() -> None:
        recompute()

    return repair


def claim(instance: dg.DagsterInstance, run_id: str, mart: Mart) -> None:
    """Write into the run's tags which mart it computes and in which process, so that the sensor can tell when it is dead."""
    instance.add_run_tags(run_id, {MART_TAG: mart.name, PROCESS_TAG: this_process()})
    ProcessBeats(get_settings().postgres).beat_until_the_end(this_process())  # a run is a process
