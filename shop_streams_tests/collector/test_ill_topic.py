"""Kafka does not acknowledge the records of one topic: its own requests are refused, and no others."""

import asyncio
import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from shop_streams.cluster import Cluster
from shop_streams.collector import durable
from shop_streams.collector.durable import DurableProducer, NotDurable
from shop_streams.defs.app_events.schema import EVENTS_TOPIC
from shop_streams.defs.sales.schema import SHOP_EVENTS_TOPIC
from shop_streams.kafka import admin
from shop_streams_tests.broker import CollectorProcess, running_broker, running_collector, second_broker
from shop_streams_tests.collector.clients import Client, query
from shop_streams_tests.harness import wait_for

GOOD: dict[str, Any] = {"user_id": 1, "app_name": "web", "event_category": "nav", "event_action": None}
SALE = {"event_type": "view", "item_price": 5, "uid": None}
SILENT = "Kafka has not acknowledged records of topic {} for 5 s"


class Connection:
    """Kafka's client with one connection, on which a broker answers in order; records of the topic `ill` have no answer."""

    def __init__(self, *_: object) -> None:
        self.waiting: deque[tuple[str, Callable[[None, None], None]]] = deque()

    def produce(self, topic: str, _value: bytes, _key: bytes, on_delivery: Any, headers: Any) -> None:
        self.waiting.append((topic, on_delivery))

    def poll(self, _seconds: float) -> None:
        while self.waiting and self.waiting[0][0] != "ill":
            self.waiting.popleft()[1](None, None)

    def list_topics(self, timeout: float) -> Any:
        """It answers."""
        return SimpleNamespace(brokers={1: "one"})

    def flush(self, _seconds: float) -> None:
        """Nothing is left to do."""


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "producer", Connection)
    monkeypatch.setattr(durable, "STALLED_SECONDS", 0.2)


@pytest.mark.usefixtures("connections")
def test_a_topic_without_acknowledgements_refuses_its_own_records_alone() -> None:
    async def run() -> tuple[dict[str, str | None], dict[str, str | None]]:
        async with DurableProducer(Cluster("unused:1"), ["good", "ill"]) as producer:
            waiting = asyncio.create_task(producer.send("ill", [(None, b"1")]))
            await asyncio.sleep(0)
            await asyncio.wait_for(producer.send("good", [(None, b"1")] * 3), 5)
            before = producer.problems()
            await asyncio.sleep(0.3)
            with pytest.raises(NotDurable, match="of topic ill"):
                await producer.send("ill", [(None, b"1")])
            await asyncio.wait_for(producer.send("good", [(None, b"1")]), 5)
            waiting.cancel()
            return before, producer.problems()

    before, after = asyncio.run(run())
    assert before == {"good": None, "ill": None}
    assert after == {"good": None, "ill": "Kafka has not acknowledged records of topic ill for 0 s"}


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize(("limits", "fit"), [({"queue_records": 20}, 10), ({"queue_bytes": 2_600}, 13)])
def test_a_topic_without_acknowledgements_does_not_fill_the_queue_of_the_others(
    limits: dict[str, int], fit: int
) -> None:
    async def run() -> list[str]:
        async with DurableProducer(Cluster("unused:1"), ["good", "ill"], **limits) as producer:
            record = (None, b"x" * 100)
            sending = [asyncio.create_task(producer.send("ill", [record])) for _ in range(30)]
            await asyncio.sleep(0.05)
            ended = [str(one.exception()) for one in sending if one.done()]
            await asyncio.wait_for(producer.send("good", [record] * fit), 5)
            for one in sending:
                one.cancel()
            return ended

    assert asyncio.run(run()) == ["Too much is in flight"] * (30 - fit)


@pytest.mark.parametrize(
    ("ill", "status", "answer"),
    [
        ((), 200, {"healthy": True}),
        (("online_store",), 200, {"healthy": True, "reason": SILENT.format("online_store")}),
        (
            ("events", "shop_events"),
            200,
            {"healthy": True, "reason": f"{SILENT.format('events')}; {SILENT.format('shop_events')}"},
        ),
        (("events", "shop_events", "online_store"), 503, None),
    ],
)
def test_a_collector_is_ready_while_one_topic_is(
    ill: tuple[str, ...], status: int, answer: dict[str, Any] | None
) -> None:
    client = Client(track_token="t" * 16)
    client.producer.ill.update({topic: SILENT.format(topic) for topic in ill})
    for path in ("/readyz", "/healthz"):
        found = client.ask(path=path)
        assert found.status == status and (answer is None or json.loads(found.body) == answer)
    headers = {"x-token": "t" * 16, "content-type": "application/json"}
    sale = SALE | {"timestamp": int(time.time() * 1000)}
    for topic, path, event in (("events", "/track", GOOD), ("shop_events", "/shop-events", sale)):
        body = json.dumps(event).encode()
        found = client.ask("POST", path, headers=headers | {"content-length": str(len(body))}, body=body)
        assert found.status == (503 if topic in ill else 200), found.body
    assert client.ask(query=query()).status == (503 if "online_store" in ill else 200)


def test_without_kafka_the_reason_is_said_once() -> None:
    client = Client()
    client.producer.ill.update(dict.fromkeys(("events", "shop_events", "online_store"), "Kafka does not answer"))
    found = client.ask(path="/readyz")
    assert (found.status, json.loads(found.body)) == (503, {"healthy": False, "reason": "Kafka does not answer"})


@pytest.fixture(params=[3])
def probed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str | None]]:
    """Probes a cluster of so many brokers once, with its answer: None, or what its client says. Then it is the topic's problem.

    As librdkafka's, the client says it at the next poll.
    """
    answers = deque[KafkaError | None]()

    class Asked(Connection):
        def __init__(self, _servers: Cluster, config: dict[str, Any]) -> None:
            super().__init__()
            self._hear, self.unheard = config["error_cb"], list[KafkaError]()

        def poll(self, seconds: float) -> None:
            super().poll(seconds)
            while self.unheard:
                self._hear(self.unheard.pop())

        def list_topics(self, timeout: float) -> Any:
            if answers and (error := answers.popleft()) is not None:
                self.unheard.append(error)
                raise KafkaException(error)
            return SimpleNamespace(brokers=dict.fromkeys(range(request.param)))

    monkeypatch.setattr(durable, "producer", Asked)
    monkeypatch.setattr(durable, "PROBE_SECONDS", 600.0)
    with asyncio.Runner() as runner:
        producer = DurableProducer(Cluster("unused:1"), ["events"])
        runner.run(producer.__aenter__())

        def probe(answer: int | None, then_send: bool = False, unheard: Collection[int] = ()) -> str | None:
            topic: Any = producer._topics["events"]
            topic._producer.unheard.extend(map(KafkaError, unheard))
            answers.append(None if answer is None else KafkaError(answer))
            runner.run(topic._probe())
            if then_send:
                runner.run(producer.send("events", [(None, b"1")]))
            return producer.problem("events")

        yield probe
        runner.run(producer.__aexit__())


def test_one_broker_that_hangs_makes_no_topic_ill(probed: Callable[..., str | None]) -> None:
    """Two probes in a row may ask the broker that hangs, while the records of this topic go to others."""
    slow, gone = KafkaError._TIMED_OUT, "Kafka does not answer"
    assert [probed(slow), probed(slow), probed(None)] == [None] * 3
    assert [probed(slow), probed(slow, then_send=True), probed(slow), probed(slow)] == [None] * 4
    assert probed(slow) == gone, "three in a row, and no acknowledgement"
    assert probed(None) is None


def test_a_kafka_without_a_broker_is_known_after_one_probe(probed: Callable[..., str | None]) -> None:
    assert probed(KafkaError._ALL_BROKERS_DOWN) == "Kafka does not answer"
    assert [probed(None), probed(KafkaError._TIMED_OUT)] == [None, None]


def test_what_was_said_before_an_answer_is_over(probed: Callable[..., str | None]) -> None:
    """All brokers were away for a moment between two probes, and nothing was sent: the client says so at its next poll."""
    assert probed(None, unheard=[KafkaError._ALL_BROKERS_DOWN]) is None
    assert probed(KafkaError._TIMED_OUT) is None


@pytest.mark.parametrize("probed", [1], indirect=True)
def test_of_one_broker_one_probe_is_enough(probed: Callable[..., str | None]) -> None:
    assert probed(KafkaError._TIMED_OUT) == "Kafka does not answer"
    assert probed(None) is None


@pytest.fixture
def collector() -> Iterator[tuple[CollectorProcess, Callable[[int], None]]]:
    """A collector, and what sends a signal to the broker without which no click has enough replicas."""
    with (
        running_broker(topics=(EVENTS_TOPIC, SHOP_EVENTS_TOPIC)) as broker,
        second_broker(broker) as second,
    ):
        clicks = NewTopic("online_store", 1, replica_assignment=[[1, 2]], config={"min.insync.replicas": "2"})
        client = admin(broker.settings.kafka)  # it must exist until the answer is there
        client.create_topics([clicks])["online_store"].result()
        with running_collector(broker) as running:
            yield running, second.send_signal


@pytest.mark.servers
@pytest.mark.timeout(300, func_only=True)
def test_clicks_without_replicas_hold_up_no_other_event(
    collector: tuple[CollectorProcess, Callable[[int], None]],
) -> None:
    running, signal_second = collector

    def click() -> int:
        return running.ask("GET", f"/csc-event?{query()}").status_code

    wait_for("a click to be acknowledged", lambda: click() == 200, 30)
    assert running.post(json=GOOD).status_code == 200
    signal_second(signal.SIGSTOP)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(click())) for _ in range(20)]
    for thread in threads:
        thread.start()
    slowest = 0.0
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        assert running.post(json=GOOD).status_code == 200 and running.ready()
        slowest = max(slowest, time.monotonic() - began)
    assert set(answers) == {503} and slowest < 4, "a click waits 8 s for its replicas"
    idle_until = time.monotonic() + 15  # more than three probes take
    while time.monotonic() < idle_until:
        assert running.ask("GET", "/readyz").json() == {"healthy": True}
        time.sleep(0.5)
    signal_second(signal.SIGCONT)
    wait_for("clicks to be accepted again", lambda: click() == 200, 60)
