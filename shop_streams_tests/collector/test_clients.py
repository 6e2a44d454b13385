"""Clients that misbehave, over raw sockets, and the ends of Kafka, of the collector and of its parent."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest

from shop_streams.collector.access import require_token
from shop_streams.collector.refusals import RefusalLog, Refused
from shop_streams.errors import ShopStreamsError
from shop_streams.serve import HEAD_SECONDS
from shop_streams.settings import Settings
from shop_streams_tests.broker import Broker, CollectorProcess, running_collector
from shop_streams_tests.faults.inflict import silent_connections
from shop_streams_tests.harness import free_ports, wait_for

GOOD: dict[str, Any] = {"user_id": 1, "app_name": "web", "event_category": "nav"}


@contextmanager
def connected(collector: CollectorProcess, sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", collector.settings.collector_port)) as one:
        one.settimeout(HEAD_SECONDS * 2)
        one.sendall(sent)
        yield one


def head(collector: CollectorProcess, length: int) -> bytes:
    token = collector.settings.track_token
    return (
        f"POST /track HTTP/1.1\r\nHost: shop\r\nX-Token: {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def test_half_a_body_is_408_and_the_connection_ends(collector: CollectorProcess) -> None:
    with connected(collector, head(collector, 100) + b"{") as one:
        assert one.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert one.recv(1000) == b""


def test_an_event_whose_connection_ended_too_early_is_dropped(broker: Broker, collector: CollectorProcess) -> None:
    body = json.dumps(GOOD).encode()
    before = broker.count("events")
    for kind in (socket.SHUT_WR, socket.SHUT_RDWR):
        with connected(collector, head(collector, len(body) + 1) + body) as one:
            one.shutdown(kind)
            with suppress(OSError):
                assert b" 200 " not in one.recv(1000)
    assert collector.post(json=GOOD).status_code == 200
    assert broker.count("events") - before == 1


def test_only_http_1_1_is_spoken(collector: CollectorProcess) -> None:
    with connected(collector, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") as one:
        assert not one.recv(1000).startswith(b"\x00")  # HTTP/2 begins with a frame of settings


def test_silent_connections_do_not_block_other_clients(broker: Broker) -> None:
    with running_collector(broker) as collector:
        silent = silent_connections(collector.settings.collector_port)
        assert len(silent) == 1500
        for _ in range(5):
            started = time.monotonic()
            assert collector.post(json=GOOD).status_code == 200
            assert collector.ask("GET", "/readyz").status_code == 200
            assert time.monotonic() - started < 5
        silent[0].settimeout(HEAD_SECONDS * 2)
        assert silent[0].recv(1) == b"", "a silent connection is closed in the end"
        for one in silent:
            one.close()


def test_each_peer_has_a_connection_limit(broker: Broker) -> None:
    with running_collector(broker, collector_peer_connections=50) as collector:
        address = ("127.0.0.1", collector.settings.collector_port)
        greedy = [socket.create_connection(address, source_address=("127.0.1.9", 0)) for _ in range(120)]
        process = psutil.Process(collector.process.pid)

        def held() -> int:
            return sum(one.status == "ESTABLISHED" and one.raddr[0] == "127.0.1.9" for one in process.net_connections())

        wait_for("the limit of a peer", lambda: held() == 50, 15)
        assert collector.post(json=GOOD).status_code == 200
        for one in greedy:
            one.close()


def test_an_unavailable_kafka_is_reported_at_once_and_does_not_delay_a_stop(broker: Broker) -> None:
    with running_collector(broker) as collector:
        try:
            broker.process.send_signal(signal.SIGSTOP)
            wait_for("the collector to know", lambda: collector.ask("GET", "/readyz").status_code == 503, 30)
            started = time.monotonic()
            answer = collector.post(json=GOOD)
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
            assert time.monotonic() - started < 3
            assert collector.ask("GET", "/livez").status_code == 200
            broker.process.send_signal(signal.SIGCONT)
            wait_for("the collector to be ready again", collector.ready, 30)
            assert collector.post(json=GOOD).status_code == 200

            broker.process.send_signal(signal.SIGSTOP)
            body = json.dumps(GOOD).encode()
            with (
                connected(collector, head(collector, len(body)) + body),
                connected(collector, head(collector, 100) + b"{"),
                connected(collector, b"POST /tr"),
                connected(collector, b""),
            ):
                time.sleep(0.3)  # all are read by then, or not: a stop must end either way
                collector.process.terminate()
                assert collector.process.wait(15) == 0
        finally:
            broker.process.send_signal(signal.SIGCONT)


def test_workers_share_a_port_and_die_with_their_parent(broker: Broker) -> None:
    with running_collector(broker, collector_workers=2) as collector:
        workers = psutil.Process(collector.process.pid).children()
        assert len(workers) == 2
        for _ in range(10):
            assert collector.post(json=GOOD).status_code == 200
        metrics = collector.ask("GET", "/metrics").text
        assert 'collector_answers_total{endpoint="/track",status="200"} 10.0' in metrics
        collector.process.kill()
        wait_for("the workers to end", lambda: not any(one.is_running() for one in workers), 15)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"track_token": ""}, "0 characters"),
        ({"track_token": "short"}, "5 characters"),
        ({"track_token": "ä" * 20}, "ASCII"),
        ({"track_token": "x" * 20 + "\n"}, "ASCII"),
        ({"track_token": "change-me-to-a-random-token"}, "an example's"),
        ({"bind_host": "0.0.0.0"}, "public default"),
        ({"bind_host": "::"}, "public default"),
        ({"bind_host": "shop.example"}, "public default"),
        ({"bind_host": "0.0.0.0", "track_token": "x" * 16}, None),
        ({"bind_host": "::1"}, None),
        ({"bind_host": "localhost"}, None),
    ],
)
def test_a_token_that_anybody_could_know_is_refused(settings: dict[str, Any], words: str | None) -> None:
    if words is None:
        require_token(Settings(**settings))
        return
    with pytest.raises(ShopStreamsError, match=words):
        require_token(Settings(**settings))


def test_the_process_refuses_a_weak_token_with_one_line() -> None:
    command = [sys.executable, "-m", "shop_streams.collector"]
    environment = os.environ | {"SHOP_STREAMS_TRACK_TOKEN": ""}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1 and "TRACK_TOKEN" in ended.stderr


def test_refusals_are_logged_escaped_without_the_token_and_in_limited_number() -> None:
    lines: list[str] = []
    now = [0.0]
    log = RefusalLog("secret-token-of-ours", lambda: now[0], lines.append)
    log.add("1.2.3.4:5", "GET", "/\x1b[31m\n/secret-token-of-ours", Refused(404, "There is no such path"))
    assert "\x1b" not in lines[0] and "\n" not in lines[0] and "secret" not in lines[0]
    for _ in range(1000):
        log.add("1.2.3.4:5", "GET", "/" + "x" * 100_000, Refused(404, "There is no such path"))
    assert len(lines) == 5 and max(map(len, lines)) < 1000
    now[0] = 1.0
    log.add("1.2.3.4:5", "GET", "/", Refused(404, "There is no such path"))
    assert "996 refusals" in lines[5]


def test_the_api_hides_the_databases_error() -> None:
    port, nothing = free_ports(2)
    environment = os.environ | {
        "SHOP_STREAMS_API_PORT": str(port),
        "SHOP_STREAMS_POSTGRES_DSN": f"postgresql://hidden_user@127.0.0.1:{nothing}/hidden",
    }
    settings = Settings(collector_port=port)
    process = subprocess.Popen([sys.executable, "-m", "shop_streams.api"], env=environment, stderr=subprocess.DEVNULL)
    api = CollectorProcess(settings, process, settings.home)  # the same asking, of another server
    try:

        def answer() -> Any:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return api.ask("GET", "/healthz")

        found = wait_for("the API", answer, 60)
        assert found.status_code == 503 and found.json() == {"healthy": False, "reason": "The database does not answer"}
        assert api.ask("GET", "/healthz/").status_code == 404
    finally:
        process.terminate()
        assert process.wait(15) == 0
