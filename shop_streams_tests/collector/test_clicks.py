"""Clicks through the real collector process: into the real Kafka, and without one."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shop_streams.kafka import offset_ranges, read_topic
from shop_streams.serve import HEAD_BYTES
from shop_streams.settings import Settings
from shop_streams.topics import VIA_COLLECTOR
from shop_streams_tests.broker import Broker, CollectorProcess, running_collector
from shop_streams_tests.collector.clients import EVENT, PARTY, SESSION, decoded, query
from shop_streams_tests.harness import free_ports, wait_for

TOPIC = "online_store"


def test_clicks_reach_kafka_as_they_were_sent(broker: Broker, collector: CollectorProcess) -> None:
    before = {number: high for number, (_, high) in offset_ranges(broker.settings.kafka, TOPIC).items()}
    location = "https://shop.example/katalog/item/42/"
    answer = collector.ask("GET", f"/csc-event?{query(l=location, u='(sprice!1 490 €!)')}")
    assert (answer.status_code, answer.headers["content-type"], len(answer.content)) == (200, "image/gif", 42)
    assert collector.ask("GET", f"/csc-event?{query(x='1')}").status_code == 200
    assert collector.ask("GET", f"/csc-event?{query(p='x')}").status_code == 200
    kind = {"Content-Type": "application/json"}
    posted = collector.ask("POST", f"/event?p={PARTY}", content=json.dumps(EVENT), headers=kind)
    assert (posted.status_code, posted.content) == (204, b"")
    sound, corrupt, event = read_topic(broker.settings.kafka, TOPIC, before)  # one key: one partition, in order
    assert {record.key for record in (sound, corrupt, event)} == {PARTY.encode()}
    assert all(VIA_COLLECTOR in record.headers for record in (sound, corrupt, event))
    found = decoded(sound.value)
    assert (found["location"], found["sessionId"], found["price"]) == (location, SESSION, "1 490 €")
    assert [record.headers["corrupt"] for record in (sound, corrupt, event)] == [b"false", b"true", b"false"]
    assert json.loads(sound.headers["parameters"] or b"") == {"price": "1 490 €"}
    assert decoded(event.value)["location"] is None


def test_a_click_that_kafka_does_not_acknowledge_is_503(broker: Broker, collector: CollectorProcess) -> None:
    broker.process.send_signal(signal.SIGSTOP)  # and the collector does not know yet
    try:
        answer = collector.ask("GET", f"/csc-event?{query()}")
        wrong = collector.ask("GET", "/csc-event")
    finally:
        broker.process.send_signal(signal.SIGCONT)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert wrong.status_code == 200
    wait_for("the collector to be ready again", collector.ready, 30)


def test_clicks_of_all_workers_are_counted(broker: Broker) -> None:
    with running_collector(broker, collector_workers=2) as collector:
        for _ in range(10):
            assert collector.ask("GET", f"/csc-event?{query()}").status_code == 200
            assert collector.ask("GET", "/csc-event").status_code == 200
        metrics = collector.ask("GET", "/metrics").text
    assert 'collector_clicks_total{outcome="recorded",reason=""} 10.0' in metrics
    assert 'collector_clicks_total{outcome="dropped",reason="missing_field"} 10.0' in metrics


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector without a Kafka, behind a proxy on this machine."""
    port, nothing = free_ports(2)
    home = tmp_path_factory.mktemp("alone")
    settings = Settings(
        home=home, collector_port=port, kafka_bootstrap_servers=f"127.0.0.1:{nothing}", click_proxies="127.0.0.1",
        click_honor_dnt=True, click_origins="https://shop.example",
    )  # fmt: skip
    log = home / "collector.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "shop_streams.collector"], env=os.environ | settings.environment(), stderr=file
        )
    running = CollectorProcess(settings, process, log)

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    try:
        wait_for("the collector", answers, 60)
        yield running
    finally:
        process.kill()
        process.wait()


def raw(collector: CollectorProcess, head: bytes) -> bytes:
    """The beginning of the answer to these bytes."""
    with socket.create_connection(("127.0.0.1", collector.settings.collector_port), 10) as one:
        one.sendall(head)
        return one.recv(1000)


@pytest.mark.servers
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        (b"/csc-event", b"", 200),
        (b"/csc-event?%zz%&=&", b"", 200),
        ("/csc-event?t=ж".encode(), b"", 200),
        (b"/csc-event?l=" + b"x" * 60_000, b"", 200),
        (b"/csc-event", b"a: " + b"x" * (HEAD_BYTES - 1_000) + b"\r\n", 200),
        (b"/csc-event", b"a: " + b"x" * 3 * HEAD_BYTES + b"\r\n", 431),
        (b"/csc-event", b"".join(b"a%d: %s\r\n" % (number, b"x" * 2_000) for number in range(90)), 431),
        (b"/csc-event", b"If-None-Match: *\r\n", 304),
        *[(b"/csc-event", name + b": \xff\r\n", 200) for name in (b"X-Forwarded-For", b"DNT", b"Origin", b"If-None-Match")],
    ],
)  # fmt: skip
def test_heads_on_the_wire(alone: CollectorProcess, target: bytes, headers: bytes, status: int) -> None:
    answer = raw(alone, b"GET " + target + b" HTTP/1.1\r\nHost: shop\r\n" + headers + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.servers
def test_without_kafka_a_sound_click_is_503_at_once(alone: CollectorProcess) -> None:
    answer = alone.ask("GET", f"/csc-event?{query()}")
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert alone.ask("HEAD", "/csc-event").headers["allow"] == "GET"
