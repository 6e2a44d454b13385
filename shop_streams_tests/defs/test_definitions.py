"""What Dagster shows: lineage without a gap, and every asset explained."""

from collections import Counter, defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import dagster as dg

import shop_streams
from shop_streams.cli.status import STREAMS
from shop_streams.definitions import defs
from shop_streams.streaming.spec import STREAM_TAG


def graph() -> Any:
    return defs.get_repository_def().asset_graph


def test_every_definition_loads() -> None:
    dg.Definitions.validate_loadable(defs)


def test_lineage_reaches_from_topic_to_mart() -> None:
    for topic, mart in (
        ("events", dg.AssetKey(["app_events", "enriched_events"])),
        ("shop_events", dg.AssetKey(["sales", "hourly_metrics"])),
        ("online_store", dg.AssetKey(["clickstream", "clicks"])),
        ("shop_events", dg.AssetKey(["kafka", "hourly_metrics_topic"])),
        ("promotions", dg.AssetKey(["kafka", "promotion_notifications_topic"])),
        ("promotions", dg.AssetKey(["postgres", "subscribers_feedback"])),
        ("promotions", dg.AssetKey(["promotions", "campaign_report"])),
    ):
        seen, todo = set(), [mart]
        while todo:
            key = todo.pop()
            seen.add(key)
            todo.extend(graph().get(key).parent_keys)
        assert dg.AssetKey(["kafka", f"{topic}_topic"]) in seen
        if topic == "promotions":
            assert dg.AssetKey(["postgres", "subscribers_restaurants"]) in seen


def test_every_asset_is_explained() -> None:
    for key in graph().get_all_asset_keys():
        node = graph().get(key)
        assert node.description and node.description.startswith("One r"), key
        assert node.group_name != "default" and node.owners and node.kinds, key


def test_every_job_and_automation_is_explained() -> None:
    repository = defs.get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    named = {one.name: one.description for one in jobs}
    named |= {one.name: one.description for one in repository.sensor_defs}
    named |= {one.name: one.description for one in repository.schedule_defs}
    assert len(named) > 20 and [name for name, description in named.items() if not description] == []


def test_a_schedule_is_named_after_its_job_and_when_it_runs() -> None:
    named = {one.name: one.job_name for one in defs.get_repository_def().schedule_defs}
    assert len(named) == 4
    for schedule, job in named.items():
        assert schedule.startswith((f"{job}_every_", f"{job}_at_")) and not job.endswith("_job")


def test_groups_form_no_cycle() -> None:
    reads: dict[str, set[str]] = defaultdict(set)
    for key in graph().get_all_asset_keys():
        group = graph().get(key).group_name
        reads[group] |= {graph().get(parent).group_name for parent in graph().get(key).parent_keys} - {group}
    assert list(TopologicalSorter(reads).static_order())[-1] == "operations"


def test_a_key_says_what_it_is_and_no_two_nodes_look_the_same() -> None:
    keys = graph().get_all_asset_keys()
    ends = {"kafka": "_topic", "streams": "_stream", "accounting": "_account"}
    assert [key for key in keys if not key.path[-1].endswith(ends.get(key.path[0], ""))] == []
    assert sum(key.path[0] in ends for key in keys) > 10
    names = Counter(key.path[-1] for key in keys)
    assert [name for name, count in names.items() if count > 1] == ["events"], "tables of app_events and of community"


def test_every_column_is_explained_and_every_lake_table_has_its_icon() -> None:
    columns = 0
    for key in graph().get_all_asset_keys():
        node = graph().get(key)
        assert "delta" not in node.kinds, "Dagster's icon is called deltalake"
        schema = node.metadata.get("dagster/column_schema")
        for column in schema.columns if schema else ():
            columns += 1
            assert column.description, f"{key.to_user_string()}.{column.name}"
    assert columns > 60


def test_dagster_queues_a_second_run_of_a_stream() -> None:
    instance = (Path(shop_streams.__file__).parent / "local" / "dagster.yaml").read_text()
    assert f"- key: {STREAM_TAG} " in instance
    assert all(STREAM_TAG in defs.resolve_job_def(f"{name}_stream").run_tags for name in STREAMS)


def test_no_stream_is_ever_retried_by_dagster() -> None:
    for name in STREAMS:
        job = defs.resolve_job_def(f"{name}_stream")
        assert job.tags["dagster/max_retries"] == "0"
        assert all(
            isinstance(node.definition, dg.OpDefinition) and node.definition.retry_policy is None for node in job.nodes
        )


def test_a_backfill_of_several_levels_is_a_run_for_each() -> None:
    """Dagster puts assets with equal partitions and policies into one run, and would skip all but the first level in it."""
    for key in graph().get_all_asset_keys():
        node = graph().get(key)
        for parent in node.parent_keys:
            other = graph().get(parent)
            if node.partitions_def is not None and node.is_executable and other.is_executable:
                assert node.partitions_def != other.partitions_def or node.backfill_policy != other.backfill_policy, key


def test_a_backfill_of_the_newest_partitions_is_accepted_and_is_no_backfill_of_everything() -> None:
    """Dagster refuses one that needs partitions that do not exist, as the last days of the running month."""
    for key in graph().get_all_asset_keys():
        node = graph().get(key)
        for parent in node.parent_keys:
            other = graph().get(parent)
            if node.partitions_def is None or other.partitions_def is None:
                continue
            mapping = graph().get_partition_mapping(key, parent)
            ours, theirs = node.partitions_def, other.partitions_def
            newest = ours.subset_with_partition_keys([ours.get_last_partition_key()])
            read = mapping.get_upstream_mapped_partitions_result_for_partitions(newest, ours, theirs)
            assert not len(read.required_but_nonexistent_subset), (key, parent)
            first = theirs.subset_with_partition_keys([theirs.get_first_partition_key()])
            assert len(mapping.get_downstream_partitions_for_partitions(first, theirs, ours)) <= 62, (key, parent)
