"""What Dagster shows of a stream: its checks stay shown while it runs, and say at once when it does not."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from uuid import uuid4

import dagster as dg
from confluent_kafka import Producer
from dagster_graphql import DagsterGraphQLClient

from shop_streams.defs.sales.streams import INGEST
from shop_streams.streaming.checks import Look, retention
from shop_streams.streaming.spec import stream_key
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import Stack, wait_for

CHECKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    freshnessStatusInfo { freshnessStatus }
    assetChecksOrError { ... on AssetChecks { checks { name
        executionForLatestMaterialization { status runId evaluation { description severity } } } } } } } }"""

DAY = 86_400


def retention_of_unread(stack: Stack, age_seconds: float) -> dg.AssetCheckResult:
    """The check's answer for a topic whose one record is that old, and whose stream has never run."""
    name = f"retention-{uuid4().hex}"
    topic = Topic(name, "", {"retention.ms": str(7 * DAY * 1000)})
    create_topics(stack.settings, (topic,))
    producer = Producer({"bootstrap.servers": stack.settings.kafka})
    producer.produce(name, b"{}", timestamp=int((time.time() - age_seconds) * 1000))
    assert producer.flush(30) == 0
    with dg.DagsterInstance.ephemeral() as instance:
        return retention(Look(replace(INGEST, name=name, topic=topic), stack.settings, instance))


def test_an_unread_record_raises_the_alarm_at_half_of_its_retention(stack: Stack) -> None:
    fine = retention_of_unread(stack, 3 * DAY)
    assert fine.passed and fine.description is None
    late = retention_of_unread(stack, 4 * DAY)
    assert not late.passed
    assert "raise the topic's retention.ms" in str(late.description)
    assert late.metadata["oldest_unread_hours"].value == 96
    assert late.metadata["retention_hours"].value == 168


Shown = dict[str, tuple[str, str, str]]


def shown(stack: Stack, key: dg.AssetKey) -> Shown:
    """As the UI shows an asset's checks: status ("NOT EVALUATED" without one), words, run id."""
    node = stack.graphql(CHECKS, key={"path": key.path})["assetNodeOrError"]
    found: Shown = {}
    for check in node["assetChecksOrError"]["checks"]:
        ran = check["executionForLatestMaterialization"]
        words = (ran["evaluation"] or {}).get("description") if ran else None
        found[check["name"]] = (ran["status"], words or "", ran["runId"]) if ran else ("NOT EVALUATED", "", "")
    return found


OWN = ("lag", "retention", "broker_time", "accounting")


def reports(stack: Stack) -> int:
    """How often the stream has reported its output."""
    query = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
        assetMaterializations(limit: 1000) { runId } } } }"""
    return len(stack.graphql(query, key={"path": INGEST.output.path})["assetOrError"]["assetMaterializations"])


def reported_since(before: int, stack: Stack) -> bool:
    """Send one event more; whether the stream has reported since `before`."""
    event = {
        "event_type": "view",
        "category": "c",
        "item_id": "i",
        "item_price": 1,
        "timestamp": int(time.time() * 1000),
    }
    stack.produce(INGEST.topic.name, [json.dumps(event).encode()])
    return reports(stack) > before


def succeeded(status: Callable[[], dg.DagsterRunStatus]) -> bool:
    return status() == dg.DagsterRunStatus.SUCCESS


def all_shown(stack: Stack) -> bool:
    now = shown(stack, INGEST.output)
    return {name: now[name][0] for name in OWN} == dict.fromkeys(OWN, "SUCCEEDED")


def test_results_stay_shown_while_the_stream_reports(stack: Stack) -> None:
    stack.wait_running(INGEST.name)
    see = partial(shown, stack, INGEST.output)
    wait_for("the first results", partial(all_shown, stack), shown=see)
    client = DagsterGraphQLClient("127.0.0.1", port_number=stack.settings.dagster_port)
    for by_hand in (False, True):
        if by_hand:  # its results hide the stream's own, and are outdated by the next report
            finished = partial(client.get_run_status, client.submit_job_execution("all_checks"))
            wait_for("a person's results", partial(succeeded, finished))
        for _ in range(3):
            wait_for("another report", partial(reported_since, reports(stack), stack))
            wait_for("its results", partial(all_shown, stack), shown=see)
    status, words, _ = shown(stack, stream_key(INGEST))["alive"]
    assert status == "SUCCEEDED" and words.startswith("running for "), words
    assert stack.status()["streams"][INGEST.name]["says"].startswith("running for ")
    node = stack.graphql(CHECKS, key={"path": stream_key(INGEST).path})["assetNodeOrError"]
    assert node["freshnessStatusInfo"]["freshnessStatus"] == "HEALTHY"


def test_a_stream_that_dies_or_rests_says_so_at_once(stack: Stack) -> None:
    alive = stack.wait_running(INGEST.name)
    os.kill(alive["pid"], signal.SIGKILL)
    began = time.monotonic()
    failed = wait_for(
        "the check to fail", lambda: (now := shown(stack, stream_key(INGEST))["alive"])[0] == "FAILED" and now
    )
    assert "its process died or hung; next try now" in failed[1]
    assert time.monotonic() - began < stack.settings.lease_seconds + 15
    stack.wait_running(INGEST.name, after_epoch=alive["epoch"])

    def says() -> str:
        return shown(stack, stream_key(INGEST))["alive"][1]

    wait_for("the new run to say so", lambda: says().startswith("running for"), shown=says)
    stack.switch(INGEST.name, on=False)
    try:
        wait_for("it to rest", lambda: says().startswith("switched off by"), shown=says)
        assert stack.status()["streams"][INGEST.name]["says"].startswith("switched off by a person")
    finally:
        stack.switch(INGEST.name, on=True)
    stack.wait_running(INGEST.name, after_epoch=alive["epoch"] + 1)
