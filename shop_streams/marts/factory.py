"""Mart -> its Dagster definitions: one asset, one job, one sensor."""

from collections.abc import Iterator, Sequence

import dagster as dg
import psycopg2
from pydantic import Field
from pyspark.sql import functions as F

from shop_streams.beats import ProcessBeats
from shop_streams.lake.asset import asset_key, column_schema
from shop_streams.lake.reader import Lake
from shop_streams.lake.write import overwrite_partition
from shop_streams.marts.failures import MartFailures
from shop_streams.marts.metadata import VERSION_COLUMN, partition_metadata, partition_of
from shop_streams.marts.repair import FAILED_PARTITIONS_TAG, MART_TAG, PROCESS_TAG, build_repair_sensor
from shop_streams.marts.spec import Computation, Mart
from shop_streams.runs import this_process
from shop_streams.spark import SparkConnect
from shop_streams.streaming.query import probe_spark


class PartitionsFailed(dg.Failure):
    """Some partitions can't be computed; all other partitions of the run are written."""


class Also(dg.Config):
    """Partitions in addition to the partitions of the run."""

    also: list[str] = Field(default=[], description="Keys of more partitions to compute; they need not be contiguous.")


def compute(
    mart: Mart, lake: Lake, spark: SparkConnect, key: str, snapshot: int, version: int
) -> dg.AssetMaterialization:
    """Compute one partition and replace it, in the lake and in PostgreSQL if the mart is served there."""
    computation = Computation((key,), snapshot, lake.settings)
    source = mart.source.read(spark.spark_session, lake, computation)
    rows = mart.rows(source, computation).withColumn(VERSION_COLUMN, F.lit(version).cast("bigint"))
    overwrite_partition(rows, mart.table, lake.settings, f"{mart.partition_column} = '{key}'")
    written = partition_of(lake, mart.table, key)
    if mart.serve is not None:
        mart.serve.replace(lake.settings.postgres, key, version, written.to_pylist())
    metadata = {**mart.totals(lake, key), **partition_metadata(mart.table, written, version)}
    return dg.AssetMaterialization(asset_key(mart.table), partition=key, metadata=metadata)


def build_asset(mart: Mart, owners: Sequence[str]) -> dg.AssetsDefinition:
    """The mart as an asset. All runs (by hand, backfill, repair sensor) compute partitions in the same way."""

    @dg.asset(
        key=asset_key(mart.table),
        deps=list(mart.source.assets),
        partitions_def=mart.partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,  # each partition logs its materialization as soon as it is written
        group_name=mart.domain,
        kinds={"spark", "deltalake"},
        owners=list(owners),
        pool=mart.name,
        description=mart.table.rows_are,
        metadata={"dagster/column_schema": column_schema(mart.table)},
    )
    def mart_asset(
        context: dg.AssetExecutionContext, config: Also, spark: SparkConnect, lake: dg.ResourceParam[Lake]
    ) -> Iterator[None]:
        dsn = lake.settings.postgres
        claim(context.instance, context.run.run_id, mart, dsn)
        keys = list(dict.fromkeys([*context.partition_keys, *config.also]))
        snapshot = mart.source.snapshot(lake)
        versions = mart.versions(lake, snapshot)
        failures, failed = MartFailures(dsn, mart.name), dict[str, Exception]()
        for key in keys:
            try:
                done = compute(mart, lake, spark, key, snapshot, versions.get(key, 0))
            except psycopg2.OperationalError:  # without PostgreSQL, all other partitions fail too
                raise
            except Exception as error:  # any error here concerns this partition only
                probe_spark(lake.settings)
                failed[key] = error
                failures.count(key)
            else:
                context.log_event(done)
                failures.forget(key)
        if failed:
            context.instance.add_run_tags(context.run.run_id, {FAILED_PARTITIONS_TAG: "yes"})
            raise partitions_failed(mart, failed)
        yield from ()

    return mart_asset


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


def build_mart(mart: Mart, owners: Sequence[str]) -> dg.Definitions:
    """All definitions of one mart: the asset, the job and the sensor."""
    job = dg.define_asset_job(
        mart.name,
        selection=[asset_key(mart.table)],
        description=f"Computes partitions of {mart.table.path}: a range, and the list `also`.",
    )
    return dg.Definitions(assets=[build_asset(mart, owners)], jobs=[job], sensors=[build_repair_sensor(mart)])
