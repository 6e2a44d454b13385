"""Clients of the shop: they send until they are told that an event is taken, and remember what was taken.

Tracked events go over HTTP, sent again with the same event_id until the answer is 200: repeats are their normal
case. Sales go to Kafka through an idempotent producer, in disorder, some of them late by days and some broken.
"""

import json
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx
from confluent_kafka import Producer

from shop_streams_tests.harness import Stack

SALES_DAYS = 6
FIRST_SECOND = 1_546_300_800  # 2019-01-01: days that nobody else of the suite writes to
HOUR = 3600


@dataclass
class Ledger:
    """What the clients know. `tag` marks their events; `tracked`, `sales` and `broken` were acknowledged."""

    tag: str
    tracked: list[dict[str, Any]] = field(default_factory=list)
    sales: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Traffic:
    """Both clients, each a thread, for as long as the block runs. Leaving it waits until everything is acknowledged."""

    def __init__(self, stack: Stack, seed: int, rate: float = 30) -> None:
        self.ledger = Ledger(f"faults-{seed}-{uuid.uuid4().hex[:8]}")
        self._seed = seed
        self._pause = 1 / rate
        # One client for all: opening one for each event would load the certificates each time, half a core at this rate.
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{stack.settings.collector_port}",
            headers={"X-Token": stack.settings.track_token},
            timeout=30,
            trust_env=False,
        )
        self._over = threading.Event()
        self._problems: list[BaseException] = []
        self._threads = [threading.Thread(target=self._guard, args=(work,)) for work in (self._track, self._sell)]
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
            assert answer.status_code == 503, answer.text
            time.sleep(0.2)
        raise AssertionError("the collector took nothing for 300 s")

    def _sell(self) -> None:
        source = random.Random(self._seed + 1)
        number = 0
        while not self._over.wait(self._pause):
            number += 1
            if source.random() < 0.03:
                self.sell_raw(f'{{"event_type":"buy","item_id":"{self.ledger.tag}-{number}", half of a')
            day = source.choice([*range(SALES_DAYS - 1), *[SALES_DAYS - 1] * 10])  # most of them on the newest day
            self.sell(number, FIRST_SECOND + 86_400 * day + source.randrange(86_400), source)
        while self._producer.flush(5):
            pass

    def sell(self, number: int | str, second: int, source: random.Random) -> dict[str, Any]:
        """Send one sale; it is in the ledger once Kafka has acknowledged it."""
        sale = {
            "event_type": "buy" if source.random() < 0.2 else "view",
            "category": self.ledger.tag,
            "item_id": f"{self.ledger.tag}-{number}",
            "item_price": source.randint(1, 9999),
            "uid": None if source.random() < 0.15 else f"u{source.randint(1, 200)}",
            "timestamp": second * 1000 + source.randrange(1000),
        }
        self._send(json.dumps(sale), lambda: self.ledger.sales.append(sale))
        return sale

    def sell_raw(self, value: str) -> None:
        """Send what is no sale."""
        self._send(value, lambda: self.ledger.broken.append(value))

    def _send(self, value: str, taken: Any) -> None:
        def delivered(error: Any, _message: Any) -> None:
            if error is None:
                taken()
            else:
                self._problems.append(AssertionError(f"Kafka did not take a sale within 600 s: {error}"))

        self._producer.produce("shop_events", value, on_delivery=delivered)
        self._producer.poll(0)
