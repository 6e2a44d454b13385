"""Sizes, encodings and methods: each has one answer, in bounded time, and nothing is sent in part."""

import asyncio
import gzip
import json
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest

from shop_streams.collector.app import Collector, EventEndpoint
from shop_streams.collector.durable import DurableProducer, NotDurable, TooLarge
from shop_streams.settings import Settings
from shop_streams_tests.broker import Broker, CollectorProcess
from shop_streams_tests.harness import wait_for

GOOD: dict[str, Any] = {"user_id": 1, "app_name": "web", "event_category": "nav", "event_action": None}
MIB = 1_048_576


def sized(size: int) -> bytes:
    """A sound event of exactly `size` bytes."""
    empty = len(json.dumps(GOOD | {"app_name": ""}))
    return json.dumps(GOOD | {"app_name": "x" * (size - empty)}).encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (sized(999_000), 200),
        (sized(1_000_001), 200),
        (sized(1_040_000), 200),
        (sized(MIB), 413),  # its record would be larger than Kafka takes
        (sized(MIB + 1), 413),
        (b"[" + sized(500_000) + b"," + sized(500_000) + b"]", 200),
        (b"[" + sized(600) + b"," + sized(MIB - 602) + b"]", 413),
    ],
)
def test_a_size_is_taken_or_413(broker: Broker, collector: CollectorProcess, body: bytes, status: int) -> None:
    before = broker.count("events")
    assert collector.post(content=body).status_code == status
    sent = 0 if status != 200 else 2 if body[:1] == b"[" else 1
    assert broker.count("events") - before == sent


def test_a_key_counts_too(collector: CollectorProcess) -> None:
    event = {"event_type": "view", "item_price": 5, "timestamp": int(time.time() * 1000), "uid": "v" * 600_000}
    assert collector.post("/shop-events", json=event).status_code in (413, 422)


def test_chunks_are_counted_as_they_come(collector: CollectorProcess) -> None:
    sound = json.dumps(GOOD).encode()
    assert collector.post(content=(sound[i : i + 10] for i in range(0, len(sound), 10))).status_code == 200
    assert collector.post(content=(b" " * 65536 for _ in range(17))).status_code == 413


def test_compressed_bodies(collector: CollectorProcess) -> None:
    def post(content: bytes, encoding: str = "gzip") -> int:
        return collector.post(content=content, headers={"Content-Encoding": encoding}).status_code

    sound = gzip.compress(json.dumps(GOOD).encode())
    assert post(sound) == 200
    assert post(sound[:-4]) == 422
    assert post(sound + sound) == 422
    assert post(b"no gzip") == 422
    assert post(gzip.compress(b" " * 500_000_000, 9)) == 413
    assert post(sound, "br") == 415


@pytest.mark.parametrize("value", ["`$" * 500_000, "a`$[" * 250_000, "\x00" * 150_000, "`$.`" * 250_000])
@pytest.mark.parametrize("field", ["user_id", "event_id"])
def test_a_large_wrong_value_is_refused_in_few_words_and_little_time(
    collector: CollectorProcess, field: str, value: str
) -> None:
    body = json.dumps(GOOD | {field: value}).encode()
    started = time.monotonic()
    answer = collector.post(content=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert len(answer.content) < 1000 and time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/track", 405, "POST"),
        ("HEAD", "/track", 405, "POST"),
        ("PUT", "/shop-events", 405, "POST"),
        ("POST", "/readyz", 405, "GET, HEAD"),
        ("HEAD", "/readyz", 200, None),
        ("GET", "/livez", 200, None),
        ("GET", "/healthz", 200, None),
        ("GET", "/healthz/", 404, None),
        ("POST", "/track/", 404, None),
        ("GET", "/", 404, None),
    ],
)
def test_methods_and_paths(collector: CollectorProcess, method: str, path: str, status: int, allow: str | None) -> None:
    answer = collector.ask(method, path)
    assert (answer.status_code, answer.headers.get("allow")) == (status, allow)
    assert answer.headers["content-type"] == "application/json" and (method == "HEAD" or answer.json())


def test_a_token_of_other_characters_is_401(collector: CollectorProcess) -> None:
    for token in ("", "wrong", "ä" * 22, collector.settings.track_token + "ä"):
        assert collector.post(json=GOOD, headers={"X-Token": token.encode()}).status_code == 401


def test_answers_are_counted(collector: CollectorProcess) -> None:
    def count(line: str) -> float:
        found = [one for one in collector.ask("GET", "/metrics").text.splitlines() if one.startswith(line)]
        return float(found[0].split()[-1]) if found else 0

    lines = [f'collector_answers_total{{endpoint="/track",status="{status}"}}' for status in (200, 422)]
    before = [count(line) for line in lines]
    for _ in range(3):
        collector.post(json=GOOD)
    collector.post(json={})
    assert [count(line) - seen for line, seen in zip(lines, before, strict=True)] == [3, 1]


def test_an_array_that_meets_a_full_queue_is_not_sent_in_part(broker: Broker) -> None:
    async def run() -> None:
        async with DurableProducer(broker.settings.kafka, ["events"], queue_records=10) as producer:
            await producer.send("events", [(None, b"1")] * 10)
            with pytest.raises(NotDurable, match="in flight"):
                await producer.send("events", [(None, b"1")] * 11)
            with pytest.raises(TooLarge):
                await producer.send("events", [(None, b"1"), (None, b"1" * MIB)])

    before = broker.count("events")
    asyncio.run(run())
    assert broker.count("events") - before == 10


def test_an_event_that_was_read_and_not_acknowledged_is_503(broker: Broker, collector: CollectorProcess) -> None:
    broker.process.send_signal(signal.SIGSTOP)  # and the collector does not know yet
    try:
        answer = collector.post(json=GOOD)
    finally:
        broker.process.send_signal(signal.SIGCONT)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert "did not acknowledge" in answer.json()["detail"]
    wait_for("the collector to be ready again", collector.ready, 30)


@pytest.mark.parametrize("error", [RuntimeError("no room"), asyncio.CancelledError()])
def test_any_failure_tells_the_client_to_send_again(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has foreseen the error, or the process ends: it is 503 with Retry-After, and never the server's empty 500."""
    said: list[tuple[int, dict[str, str], bytes]] = []

    async def fails(*_: object) -> bytes:
        raise error

    async def ask() -> None:
        app = Collector(Settings(), None)  # type: ignore[arg-type]
        monkeypatch.setattr(EventEndpoint, "accept", fails)
        proto = SimpleNamespace(response_bytes=lambda status, headers, body: said.append((status, dict(headers), body)))
        await app.__rsgi__(SimpleNamespace(path="/track", client="127.0.0.1:1", method="POST"), proto)

    with pytest.raises(type(error)):
        asyncio.run(ask())
    [(status, headers, body)] = said
    assert status == 503 and int(headers["retry-after"]) > 0 and b"send it again" in body
