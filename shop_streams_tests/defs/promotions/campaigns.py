"""Campaigns of the tests: to make and send them, to subscribe clients, and to read who was notified."""

import json
import time
import uuid
from typing import Any

from shop_streams.kafka import read_topic
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams_tests.harness import Stack, wait_for

Row = dict[str, Any]


def message(**more: Any) -> Row:
    """A campaign that is live for an hour."""
    now = int(time.time())
    return {
        "restaurant_id": str(uuid.uuid4()),
        "adv_campaign_id": str(uuid.uuid4()),
        "adv_campaign_content": "soup",
        "adv_campaign_owner": "Meyer Anna",
        "adv_campaign_owner_contact": "anna@restaurant.example",
        "adv_campaign_datetime_start": now - 60,
        "adv_campaign_datetime_end": now + 3600,
        "datetime_created": now - 120,
    } | more


def subscribe(dsn: str, restaurant: str, *clients: str) -> None:
    with transaction(dsn) as cursor:
        for client in clients:
            cursor.execute(
                "insert into subscribers_restaurants (client_id, restaurant_id) values (%s, %s)", (client, restaurant)
            )


def rows(dsn: str, campaign: str) -> list[Row]:
    with transaction(dsn) as cursor:
        cursor.execute("select * from subscribers_feedback where adv_campaign_id = %s", (campaign,))
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def clients_of(found: list[Row]) -> list[str]:
    return sorted(row["client_id"] for row in found)


def sent(settings: Settings, campaign: str, topic: str = "promotion_notifications") -> list[Row]:
    values = [json.loads(record.value) for record in read_topic(settings.kafka, topic)]
    return [value for value in values if value["adv_campaign_id"] == campaign]


def send(stack: Stack, *messages: Row) -> None:
    stack.produce("promotions", [json.dumps(one).encode() for one in messages])


def wait_notified(stack: Stack, campaign: Row, *clients: str, seconds: float = 60) -> None:
    """Until exactly these clients have it in Kafka; and in PostgreSQL, too."""
    wait_for(
        f"{clients} to be notified",
        lambda: clients_of(sent(stack.settings, campaign["adv_campaign_id"])) == sorted(clients),
        seconds,
    )
    assert clients_of(rows(stack.settings.postgres, campaign["adv_campaign_id"])) == sorted(clients)


def _without(name: str) -> Row:
    return {key: value for key, value in message().items() if key != name}


_NOW = int(time.time())
_ENDS_BEFORE = "adv_campaign_datetime_end is not after adv_campaign_datetime_start"
_TOO_LATE = "adv_campaign_datetime_end is wrong: Expected int <= 253402300799"
REFUSED: list[tuple[bytes, str]] = [  # and the reason
    (b"first_message", "not JSON"),
    *[
        (json.dumps(one).encode(), reason)
        for one, reason in (
            *[(_without(name), f"{name} is missing") for name in message()],
            (message(restaurant_id="restaurant 7"), "restaurant_id is not a UUID"),
            (message(adv_campaign_id="123e4567-e89b-12d3-a456-42661417400"), "adv_campaign_id is not a UUID"),
            (message(adv_campaign_datetime_start=_NOW, adv_campaign_datetime_end=_NOW), _ENDS_BEFORE),
            (message(adv_campaign_datetime_start=_NOW, adv_campaign_datetime_end=_NOW - 1), _ENDS_BEFORE),
            (message(datetime_created=_NOW + 0.5), "datetime_created is wrong: Expected int, got float"),
            (message(datetime_created=str(_NOW)), "datetime_created is wrong: Expected int, got str"),
            (message(adv_campaign_datetime_end=2**63), _TOO_LATE),
            (message(adv_campaign_datetime_end=_NOW * 1000), _TOO_LATE),
            (message(adv_campaign_content="a\0b"), "adv_campaign_content holds a NUL character"),
            ("first_message", "not a JSON object"),
        )
    ],
]
