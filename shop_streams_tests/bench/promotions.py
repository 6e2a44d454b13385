"""From a campaign's message to its notifications, by Kafka's own timestamps."""

import json
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from confluent_kafka import Consumer, Producer

from shop_streams.cli.status import STREAMS
from shop_streams.defs.promotions.streams import STREAM
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.bench.traffic import console
from shop_streams_tests.faults.traffic import Traffic
from shop_streams_tests.harness import Stack, wait_for

RESTAURANTS = 1_000
SUBSCRIBERS = 1_000_000
CAMPAIGN_SUBSCRIBERS = 500
LARGE = 100_000
SECONDS = 60
WARM_UP_SECONDS = 40


def _restaurant(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"bench {number}"))


def fill_subscribers(settings: Settings) -> None:
    """1,000 restaurants with 1,000,000 subscriptions: half of them with 500 each, one with 100,000."""
    half = RESTAURANTS // 2
    sizes = [(_restaurant(number), CAMPAIGN_SUBSCRIBERS) for number in range(half)]
    rest = (SUBSCRIBERS - LARGE - half * CAMPAIGN_SUBSCRIBERS) // (half - 1)
    sizes += [(_restaurant(number), rest) for number in range(half, RESTAURANTS - 1)] + [("large", LARGE)]
    with transaction(settings.postgres) as cursor, console.status("a million subscriptions"):
        for restaurant, size in sizes:
            cursor.execute(
                "insert into subscribers_restaurants (client_id, restaurant_id)"
                " select gen_random_uuid()::text, %s from generate_series(1, %s)",
                (_restaurant(-1) if restaurant == "large" else restaurant, size),
            )


def campaign(restaurant: str) -> dict[str, Any]:
    now = int(time.time())
    return {
        "restaurant_id": restaurant,
        "adv_campaign_id": str(uuid.uuid4()),
        "adv_campaign_content": "two pizzas for one",
        "adv_campaign_owner": "Ivanov Ivan Ivanovich",
        "adv_campaign_owner_contact": "iiivanov@restaurant.ru",
        "adv_campaign_datetime_start": now - 10,
        "adv_campaign_datetime_end": now + 3600,
        "datetime_created": now - 60,
    }


class Watch:
    """Reads a topic from now on and notes (campaign, timestamp in seconds) of each record."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": settings.kafka, "group.id": uuid.uuid4().hex, "auto.offset.reset": "latest"}
        )
        ready: list[Any] = []
        self._consumer.subscribe([topic], on_assign=lambda _consumer, partitions: ready.extend(partitions))
        while not ready:
            self._consumer.poll(0.2)
        self._consumer.poll(1)
        self.seen: list[tuple[str, float]] = []

    def read(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for message in self._consumer.consume(1000, timeout=min(0.2, left)):
                if message.error() is None:
                    self.seen.append(
                        (json.loads(message.value() or b"")["adv_campaign_id"], message.timestamp()[1] / 1000)
                    )

    def close(self) -> None:
        self._consumer.close()


def latencies(settings: Settings, in_topic: str, out_topic: str, count: int) -> list[float]:
    """Seconds from message to notification, of `count` campaigns for 500 subscribers, one a second."""
    sent, made = Watch(settings, in_topic), Watch(settings, out_topic)
    producer = Producer({"bootstrap.servers": settings.kafka})
    ours = [campaign(_restaurant(number % (RESTAURANTS // 2))) for number in range(count + 5)]
    for one in ours:
        producer.produce(in_topic, json.dumps(one))
        producer.flush()
        sent.read(0.1)
        made.read(0.9)
    made.read(5)
    sent.read(1)
    counted = {one["adv_campaign_id"] for one in ours[5:]}  # the first ones warm up; others have campaigns too
    at = {one: moment for one, moment in sent.seen if one in counted}
    sent.close()
    made.close()
    found = [moment - at[one] for one, moment in made.seen if one in at]
    if len(found) != count * CAMPAIGN_SUBSCRIBERS:
        raise SystemExit(f"{len(found)} notifications of {count} campaigns, not {count * CAMPAIGN_SUBSCRIBERS}")
    return found


def large(settings: Settings) -> tuple[float, float]:
    """Seconds until 100,000 clients are notified, and until the next campaign's clients are."""
    made = Watch(settings, "promotion_notifications")
    producer = Producer({"bootstrap.servers": settings.kafka})
    first, second = campaign(_restaurant(-1)), campaign(_restaurant(1))
    started = time.time()
    for message in (first, second):
        producer.produce("promotions", json.dumps(message))
        producer.flush()
        time.sleep(1)

    def last(one: str) -> float:
        return max(moment for found, moment in made.seen if found == one) - started

    def all_there() -> bool:
        made.read(1)
        found = [one for one, _ in made.seen]
        return (
            found.count(first["adv_campaign_id"]) >= LARGE
            and found.count(second["adv_campaign_id"]) >= CAMPAIGN_SUBSCRIBERS
        )

    wait_for("100,000 notifications", all_there, 120)
    made.close()
    return last(first["adv_campaign_id"]), last(second["adv_campaign_id"]) - 1


def percentiles(seconds: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49], cuts[98]


@contextmanager
def bare(settings: Settings) -> Iterator[tuple[str, str]]:
    """A consumer that selects and sends, with no guard against anything; yields its two topics."""
    topics = f"bench_{uuid.uuid4().hex}", f"bench_{uuid.uuid4().hex}"
    create_topics(settings, tuple(Topic(name, "") for name in topics))
    over = threading.Event()

    def work() -> None:
        consumer = Consumer(
            {"bootstrap.servers": settings.kafka, "group.id": topics[0], "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([topics[0]])
        producer = Producer({"bootstrap.servers": settings.kafka})
        while not over.is_set():
            message = consumer.poll(0.2)
            if message is None or message.error():
                continue
            event = json.loads(message.value() or b"")
            with transaction(settings.postgres) as cursor:
                cursor.execute(
                    "select client_id from subscribers_restaurants where restaurant_id = %s", (event["restaurant_id"],)
                )
                for (client,) in cursor:
                    producer.produce(topics[1], json.dumps(event | {"client_id": client}))
            producer.flush()
        consumer.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield topics
    finally:
        over.set()
        thread.join()


def rests(stack: Stack, name: str) -> bool:
    return bool(stack.stream(name)["state"] == "resting")


@contextmanager
def others_resting(settings: Settings) -> Iterator[None]:
    """The other streams rest, by their switches."""
    stack = Stack(settings)
    others = [name for name in STREAMS if name != STREAM.name]
    for name in others:
        stack.switch(name, False)
    try:
        for name in others:
            wait_for(f"{name} to rest", partial(rests, stack, name))
        yield
    finally:
        for name in others:
            stack.switch(name, True)


def bench_promotions(settings: Settings) -> list[list[str]]:
    """Alone, and with the other streams running under traffic; against a bare consumer; and a very large campaign."""
    stack = Stack(settings)
    fill_subscribers(settings)
    stack.wait_running(STREAM.name)
    topics = "promotions", "promotion_notifications"
    with others_resting(settings):
        with bare(settings) as bare_topics:
            bare_p50, bare_p99 = percentiles(latencies(settings, *bare_topics, SECONDS // 3))
        p50, p99 = percentiles(latencies(settings, *topics, SECONDS))
        everyone, following = large(settings)
    for name in STREAMS:
        stack.wait_running(name)
    with Traffic(stack, 1, rate=100):
        latencies(settings, *topics, WARM_UP_SECONDS)  # the streams have just been started again
        busy_p50, busy_p99 = percentiles(latencies(settings, *topics, SECONDS))
    baseline = f"bare consumer p50 {bare_p50:.2f} s, p99 {bare_p99:.2f} s"
    return [
        ["message to notification, others resting", f"p50 {p50:.2f} s, p99 {p99:.2f} s", baseline,
         f"ratio {p50 / bare_p50:.0f}", "p50 0.8 s, p99 1.5 s"],
        ["message to notification, others busy", f"p50 {busy_p50:.2f} s, p99 {busy_p99:.2f} s", "", "", "p99 3 s"],
        ["100,000 subscribers; the next campaign's", f"{everyone:.1f} s; {following:.1f} s", "", "", "20 s"],
    ]  # fmt: skip
