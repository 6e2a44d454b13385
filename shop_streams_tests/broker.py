"""A real broker without the other services, and a real collector process that uses it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import KafkaException

from shop_streams.environment import SUPERVISED_MARK
from shop_streams.kafka import admin, offset_ranges
from shop_streams.local import probes
from shop_streams.local.services import services
from shop_streams.settings import Settings
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import COLD_START, free_ports, wait_for


@dataclass(frozen=True)
class Broker:
    """A running broker."""

    settings: Settings
    process: "subprocess.Popen[bytes]"

    def count(self, topic: str) -> int:
        """How many records the topic holds."""
        return sum(high - low for low, high in offset_ranges(self.settings.kafka, topic).values())


@dataclass(frozen=True)
class CollectorProcess:
    """A running collector."""

    settings: Settings
    process: "subprocess.Popen[bytes]"
    log: Path

    def post(self, path: str = "/track", **more: Any) -> httpx.Response:
        headers = {"X-Token": self.settings.track_token, "Content-Type": "application/json"} | more.pop("headers", {})
        return self.ask("POST", path, headers=headers, **more)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        url = f"http://127.0.0.1:{self.settings.collector_port}{path}"
        return httpx.request(method, url, timeout=30, trust_env=False, **more)

    def ready(self) -> bool:
        try:
            return self.ask("GET", "/readyz").status_code == 200
        except httpx.TransportError:
            return False


def answers(settings: Settings) -> bool:
    """Whether the broker of this home answers."""
    try:
        probes.probe_kafka(settings)
    except probes.Unhealthy:
        return False
    return True


def _led(settings: Settings, topic: str) -> bool:
    """Whether each partition of the topic has a leader, which takes a moment for a new topic."""
    try:
        return bool(offset_ranges(settings.kafka, topic))
    except KafkaException:
        return False


def unmarked() -> dict[str, str]:
    """This process's environment without the mark of a stack: its `down` would end what inherits it."""
    return {name: value for name, value in os.environ.items() if name != SUPERVISED_MARK}


@contextmanager
def ending(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End the process when the block ends, by force if it does not end within 20 s."""
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


@contextmanager
def running_broker(
    home: Path | None = None, port: int | None = None, topics: Sequence[Topic] = (), properties: str = ""
) -> Iterator[Broker]:
    """A broker with `topics`, in a new folder on free ports. Another one on the same `port` can follow once it has ended.

    `properties` are more lines of its configuration, which override the others.
    """
    with tempfile.TemporaryDirectory(prefix="shop-streams-broker-") as folder:
        free, controller = free_ports(2)
        settings = Settings(
            home=home or Path(folder),
            kafka_port=port or free,
            kafka_controller_port=controller,
            kafka_java_options=COLD_START,
        )
        settings.home.mkdir(parents=True, exist_ok=True)
        service = next(one for one in services(settings) if one.name == "kafka")
        service.prepare()
        with (settings.home / "kafka.properties").open("a") as file:
            file.write(f"{properties}\n")
        with (settings.home / "kafka.log").open("wb") as log:
            process = subprocess.Popen(service.command, env=unmarked(), stdout=log, stderr=log)
        with ending(process):
            wait_for("the broker", lambda: answers(settings), 90)
            create_topics(settings, tuple(topics))
            for topic in topics:
                wait_for(f"the leaders of {topic.name}", partial(_led, settings, topic.name), 30)
            yield Broker(settings, process)


@contextmanager
def second_broker(first: Broker) -> Iterator["subprocess.Popen[bytes]"]:
    """Another broker of the same cluster, with the number 2."""
    with tempfile.TemporaryDirectory(prefix="shop-streams-broker-2-") as folder:
        command, own = list(next(one for one in services(first.settings) if one.name == "kafka").command), Path(folder)
        address = f"PLAINTEXT://127.0.0.1:{free_ports(1)[0]}"
        configuration = own / "kafka.properties"
        configuration.write_text(
            f"{(first.settings.home / 'kafka.properties').read_text()}process.roles=broker\nnode.id=2\n"
            f"listeners={address}\nadvertised.listeners={address}\nlog.dirs={own / 'kafka'}\n"
        )
        known = (first.settings.home / "kafka" / "meta.properties").read_text()
        cluster = next(line.partition("=")[2] for line in known.splitlines() if line.startswith("cluster.id="))
        java = command[: command.index("kafka.Kafka")]
        storage = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(configuration)]
        subprocess.run([*java, *storage], check=True, capture_output=True)
        with (own / "kafka.log").open("wb") as log:
            process = subprocess.Popen(
                [*java, "kafka.Kafka", str(configuration)], env=unmarked(), stdout=log, stderr=log
            )
        try:
            client = admin(first.settings.kafka)
            wait_for("the second broker", lambda: len(client.list_topics(timeout=5).brokers) == 2, 60)
            yield process
        finally:
            process.kill()  # it may be stopped, and its folder is of no use to anybody
            process.wait()


@contextmanager
def running_collector(broker: Broker, **given: Any) -> Iterator[CollectorProcess]:
    """A collector in front of the broker; `given` are settings."""
    settings = broker.settings.model_copy(update={"collector_port": free_ports(1)[0], **given})
    log = settings.home / f"collector-{settings.collector_port}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "shop_streams.collector"], env=unmarked() | settings.environment(), stderr=file, stdout=file
        )  # fmt: skip
    running = CollectorProcess(settings, process, log)
    try:
        wait_for("the collector", running.ready, 60)
        yield running
    finally:
        process.kill()
        process.wait()
