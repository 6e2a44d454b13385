"""Mart -> its Dagster definitions: one asset, one job, one sensor."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field, field_validator

from shop_streams.addresses import depth_days
from shop_streams.lake.asset import asset_key, column_schema
from shop_streams.lake.reader import Lake
from shop_streams.marts.compare import compare, known, recorded_depths
from shop_streams.marts.compute import Work, claim, compute_all, partitions_failed
from shop_streams.marts.repair import build_repair_sensor, is_repair
from shop_streams.marts.spec import Mart
from shop_streams.spark import SparkConnect

MANY_PARTITIONS = 100_000  # more than any mart has


class Also(dg.Config):
    """Partitions in addition to the partitions of the run."""

    also: list[str] = Field(default=[], description="Keys of more partitions to compute; they need not be contiguous.")


class AlsoDepth(Also):
    """Partitions in addition to the partitions of the run, and the depth of all of them."""

    depth_days: Any = Field(
        default=None,
        description="The number of dates that each partition reads, its own included; `full` or 0 for all. By default, a partition "
        "keeps the number that it was computed with, and a new one takes the setting's.",
    )

    @field_validator("depth_days")
    @classmethod
    def _checked(cls, value: Any) -> Any:
        return None if value is None else depth_days(value)


def backfill_policy(mart: Mart) -> dg.BackfillPolicy:
    """One run for a backfill of the mart.

    Dagster puts assets with equal policies into one run, where it would skip all but the first level: an asset without an output
    (see `output_required` below) has no value for the next one. So each level has a policy of its own.
    """
    return dg.BackfillPolicy.multi_run(MANY_PARTITIONS + mart.level) if mart.level else dg.BackfillPolicy.single_run()


def asked_for(instance: dg.DagsterInstance, mart: Mart, lake: Lake, keys: Sequence[str], depth: int | None) -> Work:
    """All of these partitions, with this depth, or each with its own one."""
    snapshot = mart.source.snapshot(lake)
    depths = recorded_depths(mart, lake, instance, set(keys)) if depth is None else dict.fromkeys(keys, depth)
    return Work(keys, snapshot, mart.versions(lake, snapshot, depths), depths)


def still_differing(context: dg.AssetExecutionContext, mart: Mart, lake: Lake, keys: Sequence[str]) -> Work:
    """Those of `keys` that still differ from the source. The sensor's run may have waited behind a backfill of the same ones.

    For each of the others, an observation says that it is up to date already. It is no materialization: none was computed.
    """
    snapshot = mart.source.snapshot(lake)
    found = compare(mart, lake, context.instance, snapshot)
    differing = set(found.differing(known(mart.partitions)))
    for key in sorted(set(keys) - differing):
        version = str(found.current.get(key, 0))
        context.log_event(
            dg.AssetObservation(asset_key(mart.table), partition=key, metadata={"up_to_date_already": version})
        )
    return Work([key for key in keys if key in differing], snapshot, found.current, found.depths)


def build_asset(mart: Mart, owners: Sequence[str]) -> dg.AssetsDefinition:
    """The mart as an asset. All runs (by hand, backfill, repair sensor) compute partitions in the same way."""
    Choice: Any = AlsoDepth if mart.windowed else Also

    @dg.asset(
        key=asset_key(mart.table),
        deps=list(mart.source.deps),
        partitions_def=mart.partitions,
        backfill_policy=backfill_policy(mart),
        output_required=False,  # each partition logs its materialization as soon as it is written
        group_name=mart.domain,
        kinds={"spark", "deltalake"},
        owners=list(owners),
        pool=mart.name,
        description=mart.table.rows_are,
        metadata={"dagster/column_schema": column_schema(mart.table)},
    )
    def mart_asset(
        context: dg.AssetExecutionContext,
        config: Choice,
        spark: SparkConnect,
        lake: dg.ResourceParam[Lake],
    ) -> Iterator[None]:
        claim(context.instance, context.run.run_id, mart, lake.settings.postgres)
        keys = [*context.partition_keys, *config.also]
        chosen = config.depth_days if isinstance(config, AlsoDepth) else None
        if is_repair(context.run, mart):
            work = still_differing(context, mart, lake, keys)
        else:
            work = asked_for(context.instance, mart, lake, keys, chosen)
        failed = compute_all(context, mart, lake, spark, work)
        if failed:
            raise partitions_failed(mart, failed)
        yield from ()

    return mart_asset


def build_mart(mart: Mart, owners: Sequence[str]) -> dg.Definitions:
    """All definitions of one mart: the asset, the job and the sensor."""
    job = dg.define_asset_job(
        mart.name,
        selection=[asset_key(mart.table)],
        description=f"Computes partitions of {mart.table.path}: a range, and the list `also`.",
    )
    return dg.Definitions(assets=[build_asset(mart, owners)], jobs=[job], sensors=[build_repair_sensor(mart)])
