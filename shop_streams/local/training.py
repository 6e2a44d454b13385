"""Set-up's last step: a short run of Spark that writes the archive of its classes (`python -m shop_streams.local.training`).

It runs the streams from Kafka to the lake and to Kafka once, over a few records, with a broker and a server in a
temporary home. Without the archive each start of Spark loads and verifies some 20,000 classes from their jars again.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from tenacity import retry, stop_after_attempt

from shop_streams import kafka
from shop_streams.defs.app_events.rules import COLLECTED_SINCE
from shop_streams.environment import process_environment
from shop_streams.local import class_archive
from shop_streams.local.probes import Unhealthy
from shop_streams.local.services import Service, services
from shop_streams.settings import Settings, get_settings

START_SECONDS = 180.0
QUERY_SECONDS = 240.0
STOP_SECONDS = 180.0
TRAINED = ("app_events", "sales")  # their records need no database
DAY = COLLECTED_SINCE  # the events' day, and the first one that the rules accept


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def throw_away(settings: Settings, folder: str) -> Settings:
    """Settings of an embedded broker and server in `folder`, with the jars and Java options of `settings`."""
    kafka, controller, spark = _free_ports(3)
    return settings.model_copy(
        update={
            "home": Path(folder), "lake_uri": "", "kafka_bootstrap_servers": "", "spark_remote": "",
            "kafka_port": kafka, "kafka_controller_port": controller, "spark_port": spark, "first_day": DAY,
        }
    )  # fmt: skip


@contextmanager
def _running(service: Service, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The service, healthy; it is killed at the end if it still runs."""
    service.prepare()
    secrets = {name: path.read_text().strip() for name, path in service.secrets.items()}
    with (settings.home / "logs" / f"{service.name}.log").open("wb") as log:
        process = subprocess.Popen(
            service.command,
            env=process_environment(settings) | service.environment | secrets,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                service.probe()
                break
            except Unhealthy:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.25)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _records() -> Iterator[tuple[str, bytes]]:
    for second in range(20):
        moment = f"{DAY}T00:00:{second:02d}.000000Z"
        event = {"event_id": str(uuid.uuid4()), "event_time": moment, "user_id": second, "app_name": "web"}
        event |= {"event_category": "nav", "event_action": "scroll", "event_value": 1}
        sale = {"event_type": "buy", "category": "toys", "item_id": "1", "item_price": 5, "uid": "1"}
        sale["timestamp"] = 1000 * int(datetime.fromisoformat(moment).timestamp())
        yield from (("events", json.dumps(event).encode()), ("shop_events", json.dumps(sale).encode()))
    yield from (("events", b"{"), ("shop_events", b"{"))  # dead letters load more classes


def _work(settings: Settings) -> None:
    """Run the streams' queries side by side on the server, until they have read their topics."""
    from shop_streams.defs.domains import DOMAINS
    from shop_streams.spark import open_session
    from shop_streams.streaming.spec import StreamContext
    from shop_streams.streaming.start import begin_query
    from shop_streams.topics import create_topics

    domains = [domain for domain in DOMAINS if domain.name in TRAINED]
    create_topics(settings, [topic for domain in domains for topic in domain.topics])
    producer = kafka.producer(settings.kafka)
    for topic, value in _records():
        producer.produce(topic, value)
    producer.flush(30)
    spark = open_session(settings)
    # On a busy machine Spark's Python worker may miss its 10 s at the first time.
    start = retry(stop=stop_after_attempt(3), reraise=True)(begin_query)
    queries: list[Any] = []
    for spec in [stream for domain in domains for stream in domain.streams]:
        stream = StreamContext(spark, settings, spec.name, spec.topic.name, spec.checkpoint(settings))
        spec.sink.prepare(stream)
        queries.append(start(spec, stream, availableNow=True))
    for query in queries:
        query.awaitTermination(QUERY_SECONDS)
    spark.stop()


def train(settings: Settings) -> bool:
    """Make the archive where there is none for this Java and these jars; returns whether it is there now."""
    if not settings.embedded["spark"] or class_archive.archive_of(settings).exists():
        return True
    with tempfile.TemporaryDirectory(prefix="shop-streams-training-") as folder:
        own = throw_away(settings, folder)
        (own.home / "logs").mkdir()
        ready = {service.name: service for service in services(own)}
        with _running(ready["kafka"], own), _running(ready["spark"], own) as spark:
            try:
                _work(own)
            finally:
                spark.terminate()
                spark.wait(STOP_SECONDS)
                class_archive.keep(own)  # of an unfinished training too: it saves time for the classes that it holds
    return class_archive.archive_of(settings).exists()


def main() -> None:
    """Train. A failure does not fail set-up, because the archive only saves time."""
    console = Console(stderr=True)
    settings = get_settings()
    try:
        with console.status("Archiving Spark's classes for quick starts (250 MB, about a minute, once) …"):
            done = train(settings)
    except Exception as error:  # of any kind: set-up is complete without the archive
        console.print(f"The training ended early: {type(error).__name__}: {error}".splitlines()[0], markup=False)
        done = class_archive.archive_of(settings).exists()
    if not done:
        console.print("Spark starts some seconds slower until the stack's first stop, which writes the archive too.")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends what was started
    main()
