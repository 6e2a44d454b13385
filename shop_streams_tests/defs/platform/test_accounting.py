"""A topic's account in Dagster: what clients know was accepted is what the hour's numbers say."""

import time
import uuid

import dagster as dg
import pytest
from dagster_graphql import DagsterGraphQLClient

from shop_streams.defs.app_events.streams import INGEST
from shop_streams.defs.platform.accounting import hour_account, hour_ranges, settled, topic_hours
from shop_streams_tests.harness import Stack, exact, wait_for

KEY = ["accounting", "events_account"]
NUMBERS = """query($key: AssetKeyInput!, $partition: [String!]) { assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(partitions: $partition, limit: 5) { runId metadataEntries { label ... on IntMetadataEntry { intValue }
    ... on BoolMetadataEntry { boolValue } } } } } }"""


def this_hour() -> str:
    return topic_hours.get_partition_key_for_timestamp(time.time())


def test_the_hour_tells_accepted_rows_repeats_and_refused_ones(stack: Stack) -> None:
    wait_for("all to have arrived", lambda: exact(INGEST, stack))
    hour = this_hour()
    before = hour_account(INGEST, stack.settings, hour_ranges(INGEST, stack.settings, [hour])[hour])
    event = {"user_id": 7, "app_name": "accounting", "event_category": "c", "event_id": str(uuid.uuid4())}
    for body in (event, event, event, {**event, "event_id": str(uuid.uuid4())}):
        assert stack.post("/track", json=body).status_code == 200
    stack.produce("events", [b"not through the collector, and broken"])
    wait_for("all to have arrived", lambda: exact(INGEST, stack))
    client = DagsterGraphQLClient("127.0.0.1", port_number=stack.settings.dagster_port)
    run_id = client.submit_job_execution("account_topics", tags={"dagster/partition": hour})

    def materialized() -> dict[str, int] | None:
        found = stack.graphql(NUMBERS, key={"path": KEY}, partition=[hour])["assetOrError"]
        for event in found.get("assetMaterializations", []):
            if event["runId"] == run_id:  # not an earlier account of this hour
                entries = event["metadataEntries"]
                return {one["label"]: one.get("intValue", one.get("boolValue")) for one in entries}
        return None

    after = wait_for("the account of the hour", materialized)
    if this_hour() != hour:
        return  # the hour ended in the middle of this test: what was sent lies in two of them
    assert "duplicates" not in after, "a week of ids is read once, when the hour has ended"
    after |= hour_account(INGEST, stack.settings, hour_ranges(INGEST, stack.settings, [hour])[hour])
    grown = {name: after[name] - before[name] for name in before if name not in ("exact", "in_flight", "missing")}
    assert grown == {
        "accepted_by_collector": 4,
        "records": 5,
        "rows": 4,
        "duplicates": 2,
        "dead_letters": 1,
        "forgotten": 0,
        "lost": 0,
    }
    assert after["exact"] is True and after["in_flight"] == after["missing"] == 0


def test_status_shows_where_everything_of_a_topic_is(stack: Stack) -> None:
    wait_for("all to have arrived", lambda: exact(INGEST, stack))
    totals = stack.status()["topics"]["events"]
    arrived = totals["rows"] + totals["dead_letters"] + totals["forgotten"]
    assert totals["offsets"] == arrived and totals["in_flight"] == 0


def test_an_hour_is_settled_by_an_account_made_after_its_end() -> None:
    running, closed, wrong, waiting = (
        topic_hours.get_partition_key_for_timestamp(time.time() - 3600 * hours) for hours in range(4)
    )
    key = dg.AssetKey(KEY)
    with dg.instance_for_test() as instance:
        for hour, exact_, in_flight in ((running, True, 0), (closed, True, 0), (wrong, False, 0), (waiting, True, 3)):
            numbers = {"exact": exact_, "in_flight": in_flight}
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=hour, metadata=numbers))
        assert settled(instance, key, {running, closed, wrong, waiting}) == {closed}
        assert settled(instance, key, set()) == set()


@pytest.mark.parametrize("job", ["daily_maintenance", "hourly_compaction", "all_checks"])
def test_maintenance_and_checks_run_while_the_streams_go_on(stack: Stack, job: str) -> None:
    client = DagsterGraphQLClient("127.0.0.1", port_number=stack.settings.dagster_port)
    run = client.submit_job_execution(job)
    status = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    ended = wait_for(
        job,
        lambda: (now := stack.graphql(status, id=run)["runOrError"]["status"]) in ("SUCCESS", "FAILURE") and now,
    )
    assert ended == "SUCCESS"
    assert (
        stack.post("/track", json={"user_id": 7, "app_name": "maintenance", "event_category": "c"}).status_code == 200
    )
    wait_for("all to have arrived", lambda: exact(INGEST, stack))
