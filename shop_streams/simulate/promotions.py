"""Restaurants, their subscribers, and campaigns: live, past and future, some amended, some sent again."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg2.extras
from confluent_kafka import KafkaException
from rich.progress import track

from shop_streams import kafka
from shop_streams.defs.promotions.schema import PROMOTIONS_TOPIC
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka_access import Refused, refusal, require_access
from shop_streams.postgres import transaction
from shop_streams.settings import Settings

RESTAURANTS = 40
CLIENTS = 500
SUBSCRIPTIONS = 2_000
REMEMBERED = 1_000
KAFKA_SECONDS = 3.0
IN_FLIGHT = 10_000  # the producer holds ten times as many, and then raises
DISHES = ("soup of the day", "two pizzas for one", "free dessert", "lunch at half the price", "a glass of lemonade")
OWNERS = ("Ivanov Ivan Ivanovich", "Garcia Lucia", "Meyer Anna", "Rossi Paolo")


def _uuid(source: random.Random) -> str:
    return str(uuid.UUID(int=source.getrandbits(128), version=4))


def restaurants(seed: int) -> list[str]:
    """The restaurants' ids."""
    source = random.Random(f"restaurants {seed}")
    return [_uuid(source) for _ in range(RESTAURANTS)]


def subscriptions(seed: int) -> list[tuple[str, str]]:
    """(client_id, restaurant_id); a few of them twice, as in real data."""
    source = random.Random(f"subscriptions {seed}")
    clients = [_uuid(source) for _ in range(CLIENTS)]
    ids = restaurants(seed)
    return [(source.choice(clients), source.choice(ids)) for _ in range(SUBSCRIPTIONS)]


def campaigns(count: int, seed: int, now: datetime) -> Iterator[dict[str, Any]]:
    """`count` messages: most campaigns are live at `now`, some are over, some begin within ten minutes."""
    source = random.Random(f"campaigns {seed}")
    second = int(now.timestamp())
    ids = restaurants(seed)
    sent: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)  # to amend, or to send again
    for number in range(count):
        kind = source.choices(("live", "past", "future", "amended", "again"), (60, 10, 10, 10, 10))[0]
        if kind in ("amended", "again") and sent:
            message = dict(source.choice(sent))
            if kind == "amended":
                message["adv_campaign_content"] += ", and a coffee"
                message["datetime_created"] += 1
        else:
            start = second + {"past": -7200, "future": source.randint(60, 600)}.get(kind, -source.randint(1, 3600))
            restaurant = source.choice(ids)
            message = {
                "restaurant_id": restaurant,
                "adv_campaign_id": _uuid(source),
                "adv_campaign_content": f"{source.choice(DISHES)}, offer {number}",
                "adv_campaign_owner": OWNERS[ids.index(restaurant) % len(OWNERS)],
                "adv_campaign_owner_contact": f"owner@{restaurant[:8]}.example",
                "adv_campaign_datetime_start": start,
                "adv_campaign_datetime_end": start + (3600 if kind == "past" else 7200),
                "datetime_created": second - 86_400,
            }
        sent.append(message)
        yield message


def subscribe(settings: Settings, rows: list[tuple[str, str]]) -> None:
    """Add the subscriptions that the table does not have."""
    with transaction(settings.postgres) as cursor:
        psycopg2.extras.execute_values(
            cursor,
            "insert into subscribers_restaurants (client_id, restaurant_id)"
            " select v.client_id, v.restaurant_id from (values %s) as v (client_id, restaurant_id)"
            " where not exists (select from subscribers_restaurants s"
            " where s.client_id = v.client_id and s.restaurant_id = v.restaurant_id)",
            rows,
            page_size=10_000,
        )


def send(settings: Settings, count: int, seed: int, now: datetime, rate: float | None = None) -> int:
    """Subscribe the clients, then write `count` messages to the topic, as a restaurant's app does.

    Raises:
        ShopStreamsError: PostgreSQL or Kafka did not accept them.
    """
    with suppress(KafkaException):  # the producer waits longer for a broker
        require_access(settings.kafka, [PROMOTIONS_TOPIC.name], ("Write", "Describe"), KAFKA_SECONDS)
    try:
        subscribe(settings, subscriptions(seed))
    except psycopg2.Error as error:
        raise ShopStreamsError(
            f"PostgreSQL did not take the subscribers: {str(error).strip()}. Is it healthy in `shop-streams status`?"
        ) from error
    refused = Refused()
    producer = kafka.producer(settings.kafka, {"enable.idempotence": True, "message.timeout.ms": 60_000})
    started = time.monotonic()
    for number, message in enumerate(track(campaigns(count, seed, now), PROMOTIONS_TOPIC.name, total=count)):
        if rate:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
        while len(producer) >= IN_FLIGHT:
            producer.poll(0.1)
        producer.produce(PROMOTIONS_TOPIC.name, json.dumps(message), f"message-{number}", on_delivery=refused)
        if refused:
            break
        producer.poll(0)
    left = producer.flush(60)
    if refused:
        raise refusal(settings.kafka, refused[0], PROMOTIONS_TOPIC.name) or ShopStreamsError(
            f"Kafka did not take {len(refused)} campaigns: {refused[0].str()}. See `shop-streams status`."
        )
    if left:
        raise ShopStreamsError(f"Kafka did not acknowledge {left} of {count} campaigns. See `shop-streams status`.")
    return count
