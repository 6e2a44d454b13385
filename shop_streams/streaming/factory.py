"""StreamSpec -> its Dagster definitions: job with one op, assets, checks, sensor."""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from shop_streams.lake.asset import column_schema
from shop_streams.settings import Settings
from shop_streams.spark import SparkConnect
from shop_streams.streaming.checks import build_checks
from shop_streams.streaming.keep_alive import build_sensor
from shop_streams.streaming.run import run_stream
from shop_streams.streaming.spec import STREAM_TAG, StreamSpec, stream_key, topic_key
from shop_streams.streaming.switch import keep_alive_name
from shop_streams.topics import Topic

CODE_LOCATION = "shop_streams"
SILENT = timedelta(minutes=5)  # a running stream reports every minute


def topic_asset(topic: Topic, group: str, owners: Sequence[str]) -> dg.AssetSpec:
    """The asset of a topic."""
    return dg.AssetSpec(
        topic_key(topic),
        description=topic.description,
        group_name=group,
        kinds={"kafka"},
        owners=list(owners),
        metadata={"topic": topic.name},
    )


def build_job(spec: StreamSpec) -> dg.JobDefinition:
    """The stream's job: one op in the run's process, without retries."""

    @dg.op(name=spec.name, description=spec.description, tags={"dagster/compute_kind": "spark"})
    def managed_stream(
        context: dg.OpExecutionContext, spark: SparkConnect, settings: dg.ResourceParam[Settings]
    ) -> None:
        run_stream(context, spec, settings, lambda: spark.spark_session)

    @dg.job(
        name=f"{spec.name}_stream",
        description=f"Long-lived: {spec.description} A terminated run stops at a batch boundary.",
        executor_def=dg.in_process_executor,
        tags={STREAM_TAG: spec.name, "dagster/max_retries": "0"},
    )
    def stream_job() -> None:
        managed_stream()

    return stream_job


def stream_asset(spec: StreamSpec, owners: Sequence[str]) -> dg.AssetSpec:
    """The asset of the stream itself: its place in the lineage, and plots of its speed."""
    return dg.AssetSpec(
        stream_key(spec),
        description=f"One row is one report of the running stream: speed, lag, dead letters. It reads topic {spec.topic.name} and "
        f"writes {spec.output.to_user_string()}. Its switch is {keep_alive_name(spec.name)}.",
        group_name=spec.domain,
        kinds={"spark"},
        owners=list(owners),
        deps=[topic_key(spec.topic), *spec.reads],
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=SILENT),
        metadata={
            "switch": dg.MetadataValue.url(f"/locations/{CODE_LOCATION}/sensors/{keep_alive_name(spec.name)}"),
            "reads": dg.MetadataValue.asset(topic_key(spec.topic)),
            "fills": dg.MetadataValue.asset(spec.output),
        },
        tags={"shop_streams/stream": spec.name},
    )


def output_asset(spec: StreamSpec, owners: Sequence[str]) -> dg.AssetSpec:
    """The asset of the stream's output, an external asset: the stream's run reports its materializations."""
    table = spec.sink.table
    return dg.AssetSpec(
        spec.output,
        description=spec.description,
        group_name=spec.domain,
        kinds={"spark", "deltalake" if table else "kafka"},
        owners=list(owners),
        deps=[stream_key(spec)],
        partitions_def=spec.partitions,
        tags={"shop_streams/stream": spec.name},
        metadata={"stream": spec.name, "topic": spec.topic.name}
        | ({"dagster/column_schema": column_schema(table)} if table else {}),
    )


def build_stream(spec: StreamSpec, owners: Sequence[str]) -> dg.Definitions:
    """All definitions of a stream. Its topic's asset is not among them, because several streams may read the topic."""
    job = build_job(spec)
    return dg.Definitions(
        assets=[stream_asset(spec, owners), output_asset(spec, owners)],
        asset_checks=build_checks(spec),
        jobs=[job],
        sensors=[build_sensor(spec, job)],
    )
