"""A real stack for tests: a new home, free ports, short intervals. A developer's running stack is never touched."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
from confluent_kafka import Producer
from dagster_graphql import DagsterGraphQLClient
from pyspark.sql import DataFrame, SparkSession
from rich.console import Console

from shop_streams.cli.status import STREAMS, collect, streams
from shop_streams.local import stack as local_stack
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.records import RECORD_COLUMNS, RECORD_TYPES
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.switch import keep_alive_name

# Servers of a few tests run most code for the first time, where the optimizing compiler only costs time. A stack lives long
# enough: after five minutes, the same tests take a sixth less with it.
COLD_START = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
COMMAND = str(Path(sys.executable).with_name("shop-streams"))
SLOWER = 4  # machines that run the tests differ in speed by this much, with what else they do at the time
PORTS = ("kafka", "kafka_controller", "postgres", "spark", "collector", "api", "dagster")


def free_ports(count: int) -> list[int]:
    """Ports that are free at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 180, shown: Callable[[], Any] | None = None) -> Any:
    """Poll until `ready` returns something true; fail with the last value, or what `shown` returns, when time is up.

    `seconds` are those of an ordinary machine: one that is `SLOWER` gets as many more.
    """
    seconds *= SLOWER
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        value = ready()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(
                f"waited {seconds:.0f} s without success for {what}; last: {shown() if shown else value!r}"
            )
        took = time.monotonic() - asked
        time.sleep(max(0.5, 2 * took))  # what is waited for needs the processor, too


Headers = Sequence[tuple[str, bytes | None]]


@contextmanager
def answering(
    command: Sequence[str],
    environment: Mapping[str, str],
    url: str,
    seconds: float = 60,
    ends_within: float = 20,
    **streams: Any,
) -> Iterator[None]:
    """A process with further variables, from its first answer 200 at `url` on; it is stopped at the end."""
    process = subprocess.Popen(command, env=os.environ | environment, **streams)

    def answers() -> bool:
        assert process.poll() is None, f"{' '.join(command)} has ended"
        try:
            return httpx.get(url, timeout=10, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(url, answers, seconds)
        yield
    finally:
        process.terminate()
        process.wait(ends_within)


def records(
    spark: SparkSession,
    values: Sequence[bytes | None],
    topic: str = "t",
    keys: Sequence[bytes | None] = (),
    headers: Sequence[Headers | None] = (),
) -> DataFrame:
    """Records of a topic as streams read them: partition 0, offsets from 0, written now; with keys and headers if given."""
    names = [*RECORD_COLUMNS, *(["key"] if keys else []), *(["headers"] if headers else [])]
    more = [column for column in (keys, headers) if column]
    rows = [
        (topic, 0, offset, datetime.now(UTC), value, *[column[offset] for column in more])
        for offset, value in enumerate(values)
    ]
    return spark.createDataFrame(rows, ", ".join(f"{name} {RECORD_TYPES[name]}" for name in names))


@dataclass(frozen=True)
class Stack:
    """A running stack and what tests do with it."""

    settings: Settings

    def status(self) -> dict[str, Any]:
        return collect(self.settings)

    def cli(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [COMMAND, *words], capture_output=True, text=True, timeout=300, env=os.environ | {"COLUMNS": "300"}
        )
        assert not check or done.returncode == 0, f"{words}: exit status {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def graphql(self, query: str, **variables: Any) -> Any:
        url = f"http://127.0.0.1:{self.settings.dagster_port}/graphql"
        answer = httpx.post(url, json={"query": query, "variables": variables}, timeout=60, trust_env=False).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def produce(self, topic: str, values: list[bytes | None]) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.settings.kafka,
                "enable.idempotence": True,
                "message.max.bytes": 20_000_000,
            }
        )
        for value in values:
            producer.produce(topic, value)
        assert producer.flush(30) == 0

    def run_job(
        self, job: str = "__ASSET_JOB", *keys: dg.AssetKey, partition: str = "", seconds: float = 180, **more: Any
    ) -> str:
        """Run a job, or materialize a partition of assets in one run, in Dagster; the run's id, once it has succeeded."""
        client = DagsterGraphQLClient("127.0.0.1", port_number=self.settings.dagster_port)
        tags = {"dagster/partition": partition} if partition else None
        run = client.submit_job_execution(job, tags=tags, asset_selection=list(keys) or None, **more)
        ended = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        status = wait_for(f"the run of {job}", lambda: (now := client.get_run_status(run)) in ended and now, seconds)
        assert status is dg.DagsterRunStatus.SUCCESS, self.why_failed(run)
        return run

    def post(self, path: str, **more: Any) -> httpx.Response:
        more.setdefault("headers", {"X-Token": self.settings.track_token})
        return httpx.post(f"http://127.0.0.1:{self.settings.collector_port}{path}", timeout=30, trust_env=False, **more)

    def switch(self, stream: str, on: bool) -> None:
        """Switch a stream's keep-alive sensor, as a person does on the Automation page."""
        selector = {
            "repositoryLocationName": "shop_streams",
            "repositoryName": "__repository__",
            "sensorName": keep_alive_name(stream),
        }
        if on:
            start = "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
            self.graphql(start, s=selector)
            return
        query = "query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { id } } }"
        sensor_id = self.graphql(query, s=selector)["sensorOrError"]["id"]
        self.graphql("mutation($id: String!) { stopSensor(id: $id) { __typename } }", id=sensor_id)

    def stream(self, name: str) -> dict[str, Any]:
        return streams(self.settings)[name]

    def wait_running(self, name: str, after_epoch: int = 0, seconds: float = 180) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            stream = self.stream(name)
            alive = stream["state"] == "running" and stream["epoch"] > after_epoch and stream["lag"] is not None
            return stream if alive else None

        try:
            return wait_for(f"{name} to run with an epoch above {after_epoch}", ready, seconds)
        except AssertionError as error:
            error.add_note(self.report())
            raise

    def why_failed(self, *runs: str) -> str:
        """What Dagster's events say of runs that failed."""
        query = """query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
            ... on MessageEvent { message } ... on ErrorEvent { error { message causes { message } } } } } } }"""
        events = [(run, event) for run in runs for event in self.graphql(query, run=run)["logsForRun"]["events"]]
        return "\n".join(f"{run}: {event}"[:2000] for run, event in events if event)

    def report(self) -> str:
        """The streams' states and the ends of the logs, for the message of a failed test."""
        lines = [f"{name}: {stream}" for name, stream in streams(self.settings).items()]
        for log in sorted((self.settings.home / "logs").glob("*.log")):
            end = log.read_text(errors="replace").splitlines()[-12:]
            lines += [f"--- {log.name}", *(line[:300] for line in end)]
        return "\n".join(lines)


def exact(spec: StreamSpec, stack: Stack) -> bool:
    """Whether all records of a stream's topic arrived, and each once."""
    return all(account.exact and not account.in_flight for account in accounts(spec, stack.settings))


@contextmanager
def running_stack(**settings: str) -> Iterator[Stack]:
    """A stack in a new folder on free ports, its streams running; `settings` as in the environment, without the prefix."""
    home = Path(tempfile.mkdtemp(prefix="shop-streams 100% test-"))  # users' paths have spaces and per cent signs, too
    given = {"HOME": str(home), "INGEST_INTERVAL_SECONDS": "5", "REPORT_SECONDS": "5", "PROMOTION_SWEEP_SECONDS": "5"}
    given |= {"MART_REFRESH_SECONDS": "5", "MART_REPAIR_SECONDS": "5"}
    given |= {f"{name.upper()}_PORT": str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    before = dict(os.environ)
    os.environ.update({f"SHOP_STREAMS_{name}": value for name, value in (given | settings).items()})
    current = get_settings()
    try:
        local_stack.up(current, Console(stderr=True))
        stack = Stack(current)
        for name in STREAMS:
            stack.wait_running(name)
        yield stack
    finally:
        local_stack.down(current)
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(home, ignore_errors=True)
