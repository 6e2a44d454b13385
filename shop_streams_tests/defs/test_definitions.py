"""What Dagster shows: lineage without a gap, and every asset explained."""

from typing import Any

import dagster as dg

from shop_streams.cli.status import STREAMS
from shop_streams.definitions import defs


def graph() -> Any:
    return defs.get_repository_def().asset_graph


def test_every_definition_loads() -> None:
    dg.Definitions.validate_loadable(defs)


def test_lineage_reaches_from_topic_to_mart() -> None:
    for topic, mart in (
        ("events", dg.AssetKey(["app_events", "enriched_events"])),
        ("shop_events", dg.AssetKey(["sales", "hourly_metrics"])),
        ("shop_events", dg.AssetKey(["kafka", "hourly_metrics"])),
        ("promotions", dg.AssetKey(["kafka", "promotion_notifications"])),
        ("promotions", dg.AssetKey(["postgres", "subscribers_feedback"])),
        ("promotions", dg.AssetKey(["promotions", "campaign_report"])),
    ):
        seen, todo = set(), [mart]
        while todo:
            key = todo.pop()
            seen.add(key)
            todo.extend(graph().get(key).parent_keys)
        assert dg.AssetKey(["kafka", topic]) in seen
        if topic == "promotions":
            assert dg.AssetKey(["postgres", "subscribers_restaurants"]) in seen


def test_every_asset_is_explained() -> None:
    for key in graph().get_all_asset_keys():
        node = graph().get(key)
        assert node.description and node.description.startswith("One r"), key
        assert node.group_name != "default" and node.owners and node.kinds, key


def test_every_automation_is_explained() -> None:
    repository = defs.get_repository_def()
    named = {one.name: one.description for one in repository.sensor_defs}
    named |= {one.name: one.description for one in repository.schedule_defs}
    assert len(named) > 9 and [name for name, description in named.items() if not description] == []


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


def test_no_stream_is_ever_retried_by_dagster() -> None:
    for name in STREAMS:
        job = defs.resolve_job_def(f"{name}_stream")
        assert job.tags["dagster/max_retries"] == "0"
        assert all(
            isinstance(node.definition, dg.OpDefinition) and node.definition.retry_policy is None for node in job.nodes
        )
