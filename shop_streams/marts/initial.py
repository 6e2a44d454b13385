"""The initial load of several marts: one job, run by hand, that computes all partitions that differ, mart after mart."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from shop_streams.lake.reader import Lake
from shop_streams.marts.compare import compare, known
from shop_streams.marts.compute import Work, claim, compute_all
from shop_streams.marts.repair import INITIAL_LOAD_TAG
from shop_streams.marts.spec import Mart
from shop_streams.spark import SparkConnect


class LoadIncomplete(dg.Failure):
    """Some partitions can't be computed; all other partitions of all marts are written."""


def load(context: dg.OpExecutionContext, mart: Mart, lake: Lake, spark: SparkConnect) -> list[str]:
    """Compute every partition of the mart that differs, ascending; return what can't be computed, in words."""
    claim(context.instance, context.run.run_id, mart, lake.settings.postgres)
    mart.table.create(
        spark.spark_session, lake.settings
    )  # also if there is nothing to compute yet: the next mart reads it
    snapshot = mart.source.snapshot(lake)
    found = compare(mart, lake, context.instance, snapshot)
    keys = found.differing(known(mart.partitions))
    count = len(found.current.keys() | found.recorded.keys())
    context.log.info(f"{mart.table.path}: {len(keys)} of {count} partitions are to be computed")
    failed = compute_all(context, mart, lake, spark, Work(keys, snapshot, found.current, found.depths))
    return [f"{mart.table.path} {key}: {error}" for key, error in failed.items()]


def initial_load(name: str, marts: Sequence[Mart], description: str = "") -> dg.JobDefinition:
    """A job without partitions: one op for each mart, in this order, which is that of their lineage.

    Run again, it goes on where it stopped. Meanwhile the sensors of these marts request nothing. A partition that can't be
    computed holds up no other: the run fails at its end, and names them.
    """

    def op_of(mart: Mart, last: bool) -> Callable[..., Any]:
        @dg.op(
            name=f"load_{mart.name}",
            ins={"failed": dg.In(list[str])},
            pool=mart.name,
            description=f"Computes every partition of {mart.table.path} that differs from its source.",
        )
        def load_mart(
            context: dg.OpExecutionContext, failed: Any, spark: SparkConnect, lake: dg.ResourceParam[Lake]
        ) -> list[str]:
            failed = [*failed, *load(context, mart, lake, spark)]
            if last and failed:
                raise LoadIncomplete(
                    f"{len(failed)} partitions can't be computed, the first: {failed[0]}",
                    metadata={
                        "partitions": "\n".join(failed[:100]),
                        "next_step": "All other partitions are written. Mend the cause. The repair sensors compute these again.",
                    },
                    allow_retries=False,
                )
            return failed

        return load_mart

    ops = [op_of(mart, last=number == len(marts) - 1) for number, mart in enumerate(marts)]

    @dg.op(name="begin", description="Nothing has failed yet.")
    def begin() -> list[str]:
        return []

    @dg.job(
        name=name,
        executor_def=dg.in_process_executor,
        tags={f"{INITIAL_LOAD_TAG}_{mart.name}": "yes" for mart in marts},
        description=description
        or "Computes everything that differs from its source, mart after mart. Run again, it goes on where it stopped.",
    )
    def loading() -> None:
        failed = begin()
        for op in ops:
            failed = op(failed)

    return loading
