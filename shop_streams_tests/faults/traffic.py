"""Clients of the shop: they send until they are told that an event is taken, and remember what was taken.

Tracked events go over HTTP, sent again with the same event_id until the answer is 200: repeats are their normal
case. Sales go to Kafka through an idempotent producer, in disorder, some of them late by days and some broken. Restaurants send
campaigns to Kafka, while clients subscribe to them in PostgreSQL and leave again. Shoppers' browsers send clicks (clicks.py).
"""

import json
import random
import threading
import time
import uuid
from typing import Any

import httpx
import psycopg2
from confluent_kafka import Producer

from shop_streams.postgres import transaction
from shop_streams_tests.faults import clicks
from shop_streams_tests.faults.ledger import FIRST_SECOND, LARGEST_PRICE, ODD, SALES_DAYS, Ledger
from shop_streams_tests.harness import Stack

PROMOTION_PAUSE = 2.0
SUBSCRIPTION_PAUSE = 0.5
RESTAURANTS = 15


class Traffic:
    """All clients, each kind a thread, for as long as the block runs. Leaving it waits until everything is acknowledged."""

    def __init__(self, stack: Stack, seed: int, rate: float = 30) -> None:
        self.ledger = Ledger(f"faults-{seed}-{uuid.uuid4().hex[:8]}")
        self.restaurants = [str(uuid.uuid4()) for _ in range(RESTAURANTS)]
        self.canary = str(uuid.uuid4())  # a restaurant whose one subscriber stays
        self._seed = seed
        self._pause = 1 / rate
        self._kafka = stack.settings.kafka
        self._postgres = stack.settings.postgres
        # One client for all: opening one for each event would load the certificates each time, half a core at this rate.
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{stack.settings.collector_port}",
            headers={"X-Token": stack.settings.track_token},
            timeout=30,
            trust_env=False,
        )
        self._over = threading.Event()
        self._problems: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guard, args=(work,))
            for work in (self._track, self._sell, self._promote, self._subscribe, self._shop)
        ]
        self._producer = Producer(
            {
                "bootstrap.servers": stack.settings.kafka,
                "enable.idempotence": True,
                "delivery.timeout.ms": 600_000,
                "linger.ms": 5,
                "log_level": 0,
            }
        )

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._http.close()
        self.check()

    def check(self) -> None:
        """Raise what a client met that nobody promised."""
        if self._problems:
            raise self._problems[0]

    def _guard(self, work: Any) -> None:
        try:
            work()
        except BaseException as problem:  # kept for the thread that waits for us, which raises it
            self._problems.append(problem)

    def _track(self) -> None:
        source = random.Random(self._seed)
        while not self._over.wait(self._pause):
            event = {
                "event_id": str(uuid.uuid4()),
                "user_id": source.randint(1, 6),
                "app_name": self.ledger.tag,
                "event_category": "faults",
                "event_action": source.choice(["page_view", "scroll", "button_click", None]),
                "event_value": source.choice([1, 2, None]),
            }
            self._post_until_taken(event)
            if source.random() < 0.05:  # a client that missed the answer
                self._post_until_taken(event)
            self.ledger.tracked.append(event)

    def _post_until_taken(self, event: dict[str, Any]) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                answer = self._http.post("/track", json=event)
            except httpx.TransportError:  # the collector may be the one that was killed
                time.sleep(0.2)
                continue
            if answer.status_code == 200:
                return
            assert answer.status_code == 503, f"/track answered {answer.status_code}: {answer.text}"
            time.sleep(0.2)
        raise AssertionError("the collector took nothing for 300 s")

    def _shop(self) -> None:
        clicks.shop(self._http, self.ledger, self._seed + 4, lambda: self._over.wait(2 * self._pause))

    def _sell(self) -> None:
        source = random.Random(self._seed + 1)
        number = 0
        while not self._over.wait(self._pause):
            number += 1
            if source.random() < 0.03:
                self.sell_raw(f'{{"event_type":"buy","item_id":"{self.ledger.tag}-{number}", half of a')
            if source.random() < 0.02:
                self.sell_raw(json.dumps(self.sale(f"{number}-odd", FIRST_SECOND, source) | source.choice(ODD)))
            day = source.choice([*range(SALES_DAYS - 1), *[SALES_DAYS - 1] * 10])  # most of them on the newest day
            self.sell(number, FIRST_SECOND + 86_400 * day + source.randrange(86_400), source)
        while self._producer.flush(5):
            pass

    def sell(self, number: int | str, second: int, source: random.Random) -> dict[str, Any]:
        """Send one sale; it is in the ledger once Kafka has acknowledged it."""
        sale = self.sale(number, second, source)
        self._send(json.dumps(sale), lambda: self.ledger.sales.append(sale))
        return sale

    def sale(self, number: int | str, second: int, source: random.Random) -> dict[str, Any]:
        """A sale that every rule accepts; one in a hundred has the largest price."""
        return {
            "event_type": "buy" if source.random() < 0.2 else "view",
            "category": self.ledger.tag,
            "item_id": f"{self.ledger.tag}-{number}",
            "item_price": LARGEST_PRICE if source.random() < 0.01 else source.randint(0, 9999),
            "uid": None if source.random() < 0.15 else f"u{source.randint(1, 200)}",
            "timestamp": second * 1000 + source.randrange(1000),
        }

    def transact(self) -> None:
        """Send sales in two Kafka transactions: the first is aborted, so nobody sold anything; the second is committed."""
        name = f"faults-{uuid.uuid4().hex}"
        producer = Producer({"bootstrap.servers": self._kafka, "transactional.id": name, "log_level": 0})
        producer.init_transactions(60)
        source = random.Random(name)
        for commit in (False, True):
            sales = [self.sale(f"{name}-{commit}-{number}", FIRST_SECOND, source) for number in range(5)]
            producer.begin_transaction()
            for sale in sales:
                producer.produce("shop_events", json.dumps(sale))
            producer.flush(60)  # the aborted ones, too, are in the log
            if commit:
                producer.commit_transaction(60)
                self.ledger.sales.extend(sales)
            else:
                producer.abort_transaction(60)

    def sell_raw(self, value: str) -> None:
        """Send what is no sale."""
        self._send(value, lambda: self.ledger.broken.append(value))

    def _promote(self) -> None:
        """A campaign every few seconds: most are live for longer than any test; some are amended or sent again."""
        source = random.Random(self._seed + 2)
        sent: list[dict[str, Any]] = []
        while not self._over.wait(PROMOTION_PAUSE):
            if sent and source.random() < 0.3:
                message = source.choice(sent) | {"datetime_created": int(time.time())}
            else:
                kind = source.choices(("live", "soon", "over", "much later"), (70, 10, 10, 10))[0]
                message = self.campaign(source.choice(self.restaurants), kind)
            sent.append(message)
            self.promote(message)

    def campaign(self, restaurant: str, kind: str = "live") -> dict[str, Any]:
        """A new campaign; `soon` begins while the test runs."""
        now = int(time.time())
        start = now + {"live": -60, "soon": 20, "over": -7200, "much later": 86_400}[kind]
        return {
            "restaurant_id": restaurant,
            "adv_campaign_id": str(uuid.uuid4()),
            "adv_campaign_content": kind,
            "adv_campaign_owner": self.ledger.tag,
            "adv_campaign_owner_contact": "owner@restaurant.example",
            "adv_campaign_datetime_start": start,
            "adv_campaign_datetime_end": start + (3600 if kind == "over" else 10**9),
            "datetime_created": now,
        }

    def promote(self, message: dict[str, Any]) -> None:
        """Send a campaign's message; it is in the ledger once Kafka has acknowledged it."""
        self._send(json.dumps(message), lambda: self.ledger.campaigns.append(message), "promotions")

    def _subscribe(self) -> None:
        """Clients subscribe, some of them twice, and some leave again."""
        source = random.Random(self._seed + 3)
        while not self._over.wait(SUBSCRIPTION_PAUSE):
            known = [row for row in self.ledger.subscriptions if row[1] != self.canary]
            if source.random() < 0.15 and known:
                self.leave(source.choice(known))
            elif source.random() < 0.15 and known:
                self.subscribe(source.choice(known))
            else:
                self.subscribe((f"client-{uuid.uuid4()}", source.choice(self.restaurants)))

    def subscribe(self, row: tuple[str, str]) -> None:
        """Add (client_id, restaurant_id) to the shop's table, until PostgreSQL has taken it."""
        self.ledger.ever_subscribed.append(row)
        self._until_taken("insert into subscribers_restaurants (client_id, restaurant_id) values (%s, %s)", row)
        if row not in self.ledger.subscriptions:
            self.ledger.subscriptions.append(row)

    def leave(self, row: tuple[str, str]) -> None:
        """Take it away; whether the client was notified before, nobody can tell."""
        self.ledger.subscriptions.remove(row)
        self._until_taken("delete from subscribers_restaurants where client_id = %s and restaurant_id = %s", row)

    def _until_taken(self, statement: str, row: tuple[str, str]) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                with transaction(self._postgres) as cursor:
                    cursor.execute(statement, row)
                return
            except psycopg2.OperationalError:
                time.sleep(0.2)
        raise AssertionError("PostgreSQL took nothing for 300 s")

    def _send(self, value: str, taken: Any, topic: str = "shop_events") -> None:
        def delivered(error: Any, _message: Any) -> None:
            if error is None:
                taken()
            else:
                self._problems.append(AssertionError(f"Kafka did not take a record within 600 s: {error}"))

        self._producer.produce(topic, value, on_delivery=delivered)
        self._producer.poll(0)
