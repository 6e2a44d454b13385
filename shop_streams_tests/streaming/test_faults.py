"""Killed, terminated, switched off, started twice: the stream comes back or rests as it should, and nothing is lost or twice."""

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psutil
import pytest

from shop_streams.cli.status import STREAMS
from shop_streams.defs.app_events.schema import EVENTS
from shop_streams.defs.app_events.streams import INGEST
from shop_streams.lake import reader
from shop_streams.local.supervision import connect
from shop_streams.runs import END_GRACE_SECONDS
from shop_streams_tests.faults.inflict import on_another_host
from shop_streams_tests.harness import Stack, exact, wait_for

NAME = INGEST.name
RUN_STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@contextmanager
def traffic(stack: Stack) -> Iterator[list[str]]:
    """Post events while the block runs; yields the ids that the collector acknowledged."""
    acknowledged: list[str] = []
    over = threading.Event()

    def post() -> None:
        while not over.wait(0.02):
            event_id = str(uuid.uuid4())
            body = {"user_id": 5, "app_name": "faults", "event_category": "c", "event_id": event_id}
            if stack.post("/track", json=body).status_code == 200:
                acknowledged.append(event_id)

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield acknowledged
    finally:
        over.set()
        thread.join()


def assert_each_is_a_row_once(stack: Stack, ids: list[str]) -> None:
    def rows() -> list[str]:
        table = reader.scan(EVENTS.uri(stack.settings), ["event_id", "app_name"])
        return [
            row["event_id"] for row in table.to_pylist() if row["app_name"] == "faults" and row["event_id"] in wanted
        ]

    wanted = set(ids)
    wait_for("every acknowledged event to be a row", lambda: len(rows()) >= len(ids))
    assert sorted(rows()) == sorted(ids)
    wait_for("the accounting to be exact", lambda: exact(INGEST, stack))


def has_ended(pid: int) -> bool:
    """Whether the process ended; its parent may take a minute to hear of it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def run_status(stack: Stack, run_id: str) -> str:
    return stack.graphql(RUN_STATUS, id=run_id)["runOrError"]["status"]


def test_a_killed_run_process_is_replaced(stack: Stack) -> None:
    with traffic(stack) as ids:
        before = stack.wait_running(NAME)
        wait_for("some traffic", lambda: len(ids) > 50)
        os.kill(before["pid"], signal.SIGKILL)
        after = stack.wait_running(NAME, before["epoch"])
    assert after["run_id"] != before["run_id"]
    assert run_status(stack, before["run_id"]) == "FAILURE"
    assert_each_is_a_row_once(stack, ids)


@pytest.mark.parametrize("host", ["here", pytest.param("elsewhere", marks=pytest.mark.long)])
def test_a_paused_run_loses_its_lease_and_is_ended_or_gives_up_when_it_wakes(stack: Stack, host: str) -> None:
    with traffic(stack) as ids:
        before = stack.wait_running(NAME)
        zombie = psutil.Process(before["pid"])
        if host == "elsewhere":
            on_another_host(stack, NAME)
        zombie.suspend()
        try:
            successor = stack.wait_running(NAME, before["epoch"])
            if host == "elsewhere":  # here, it may have been ended by now
                assert zombie.status() == psutil.STATUS_STOPPED
        finally:
            if host == "elsewhere":
                zombie.resume()
        wait_for("the old process to end", lambda: has_ended(before["pid"]), 2 * END_GRACE_SECONDS)
    assert_each_is_a_row_once(stack, ids)
    assert stack.wait_running(NAME)["run_id"] == successor["run_id"]  # the zombie stopped its own query only


def test_terminate_stops_cleanly_and_the_sensor_starts_again(stack: Stack) -> None:
    before = stack.wait_running(NAME)
    stack.graphql("mutation($id: String!) { terminateRun(runId: $id) { __typename } }", id=before["run_id"])
    wait_for("the run to be canceled", lambda: run_status(stack, before["run_id"]) == "CANCELED")
    errors = stack.graphql(ERRORS, id=before["run_id"])["logsForRun"]["events"]
    shown = [event["error"] for event in errors if event.get("error")]
    assert shown and all("the stream has stopped" in one["message"] and not one["stack"] for one in shown)
    assert stack.wait_running(NAME, before["epoch"])["run_id"] != before["run_id"]


def test_the_sensor_is_a_switch(stack: Stack) -> None:
    before = stack.wait_running(NAME)
    stack.switch(NAME, False)
    try:
        wait_for("the stream to rest", lambda: stack.stream(NAME)["state"] == "resting")
        assert run_status(stack, before["run_id"]) in ("SUCCESS", "STARTED")
    finally:
        stack.switch(NAME, True)
    stack.wait_running(NAME, before["epoch"])


def test_a_second_run_of_a_stream_waits_in_the_queue(stack: Stack) -> None:
    from dagster_graphql import DagsterGraphQLClient

    before = stack.wait_running(NAME)
    client = DagsterGraphQLClient("127.0.0.1", port_number=stack.settings.dagster_port)
    second = client.submit_job_execution(f"{NAME}_stream")
    try:
        wait_for("the second run to be queued", lambda: run_status(stack, second) == "QUEUED", 20)
        assert stack.stream(NAME)["run_id"] == before["run_id"]
    finally:
        stack.graphql("mutation($id: String!) { terminateRun(runId: $id) { __typename } }", id=second)
    wait_for("it to be canceled", lambda: run_status(stack, second) == "CANCELED")


def test_a_broker_that_is_away_ends_no_run(stack: Stack) -> None:
    before = {name: stack.wait_running(name) for name in STREAMS}
    supervisor = connect(stack.settings)
    supervisor.stopProcess("kafka")
    try:
        wait_for("the streams to miss the broker", lambda: all(stack.stream(name)["lag"] is None for name in STREAMS))
        time.sleep(stack.settings.lease_seconds + 5)  # longer than a lease lasts without a beat
    finally:
        supervisor.startProcess("kafka")
    with traffic(stack) as ids:
        wait_for("some traffic", lambda: len(ids) > 50)
    assert_each_is_a_row_once(stack, ids)
    assert {name: stack.wait_running(name)["run_id"] for name in STREAMS} == {
        name: stream["run_id"] for name, stream in before.items()
    }


def test_a_run_that_somebody_deleted_ends_and_gives_its_lease_back(stack: Stack) -> None:
    before = stack.wait_running(NAME)
    stack.graphql("mutation($id: String!) { deleteRun(runId: $id) { __typename } }", id=before["run_id"])
    after = stack.wait_running(NAME, before["epoch"])
    assert after["run_id"] != before["run_id"]
    wait_for("the old process to end", lambda: has_ended(before["pid"]), 60)


ERRORS = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
    ... on ErrorEvent { error { message stack } } } } } }"""
FAILURES = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
    ... on ExecutionStepFailureEvent { failureMetadata { description metadataEntries {
        label ... on TextMetadataEntry { text } } } } } } } }"""


def advice(stack: Stack, run_id: str) -> dict[str, str]:
    """The metadata of the run's failure, by label."""
    # A webserver whose connection ended with the database answers once with an error instead of events.
    events = stack.graphql(FAILURES, id=run_id)["logsForRun"].get("events", [])
    return {
        entry["label"]: entry.get("text", "")
        for event in events
        if event.get("failureMetadata")
        for entry in event["failureMetadata"]["metadataEntries"]
    }


def test_a_database_that_is_away_for_longer_than_the_lease_fails_every_run_with_advice(stack: Stack) -> None:
    before = {name: stack.wait_running(name) for name in STREAMS}
    supervisor = connect(stack.settings)
    supervisor.stopProcess("postgres")
    try:
        time.sleep(stack.settings.lease_seconds + 8)  # longer than a lease lasts without a beat
    finally:
        supervisor.startProcess("postgres")
    for name in STREAMS:
        assert stack.wait_running(name, before[name]["epoch"])["run_id"] != before[name]["run_id"]
    for name in STREAMS:
        told = wait_for(f"{name}'s run to say why", partial(advice, stack, before[name]["run_id"]), 60)
        assert told["cause"] == "DatabaseAway" and "logs/postgres.log" in told["next_step"]
        wait_for("its process to end", partial(has_ended, before[name]["pid"]), 120)


@pytest.mark.parametrize(
    "service",
    [
        "dagster_code_server",
        *[pytest.param(one, marks=pytest.mark.long) for one in ("dagster_daemon", "collector", "kafka", "postgres")],
    ],
)
def test_a_killed_service_comes_back_and_nothing_is_lost(stack: Stack, service: str) -> None:
    ids: list[str] = []

    def post() -> bool:
        event_id = str(uuid.uuid4())
        body = {"user_id": 5, "app_name": "faults", "event_category": "c", "event_id": event_id}
        try:
            taken = stack.post("/track", json=body).status_code == 200
        except Exception as error:  # the collector itself may be the one that was killed
            assert (
                "Connect" in type(error).__name__
                or "Protocol" in type(error).__name__
                or "Read" in type(error).__name__
            )
            return False
        if taken:
            ids.append(event_id)
        return taken

    wait_for("traffic", post)
    pid = stack.status()["services"][service]["pid"]
    psutil.Process(pid).kill()
    wait_for(
        f"{service} to be healthy with a new pid",
        lambda: (now := stack.status()["services"][service])["state"] == "healthy" and now["pid"] != pid,
    )
    wait_for("traffic again", post)
    stack.wait_running(NAME)
    wait_for("traffic after all is back", post)
    table = wait_for(
        "the rows",
        lambda: set(ids) <= set(reader.scan(EVENTS.uri(stack.settings), ["event_id"])["event_id"].to_pylist()),
    )
    assert table
    wait_for("the accounting to be exact", lambda: exact(INGEST, stack))
