"""Produce to Kafka from asyncio: `send` returns once every record is acknowledged by all in-sync replicas.

Delivery callbacks run inside `poll` on the event loop's own thread, so no record crosses a thread: that is what
makes thousands of single acknowledgements a second cheap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

POLL_SECONDS = 0.001
VIA_COLLECTOR = "via_collector"  # a header on each of our records, so that the topic itself can tell how many there are
DELIVERY_MILLISECONDS = 10_000


HEADERS: Any = [(VIA_COLLECTOR, b"")]


class NotDurable(Exception):
    """Kafka did not acknowledge: the record may be lost, and the client must send it again."""


class _Delivery:
    """The acknowledgements that one request waits for."""

    __slots__ = ("error", "future", "missing")

    def __init__(self, future: asyncio.Future[None], missing: int) -> None:
        self.future = future
        self.missing = missing
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError | None, _message: Any) -> None:
        self.missing -= 1
        if error is not None:
            self.error = error
        if self.missing <= 0 and not self.future.done():
            self.future.set_result(None)


class DurableProducer:
    """An idempotent producer with `acks=all`; one for each event loop."""

    def __init__(self, servers: str, queue_records: int = 200_000) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "delivery.timeout.ms": DELIVERY_MILLISECONDS,
                "queue.buffering.max.messages": queue_records,
                "compression.type": "lz4",
                "log_level": 3,
            }
        )
        self._in_flight = 0
        self._wake = asyncio.Event()
        self._pump = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            if self._in_flight == 0:
                self._wake.clear()
                await self._wake.wait()
            self._producer.poll(0)
            await asyncio.sleep(POLL_SECONDS)

    async def send(self, topic: str, records: Sequence[tuple[bytes | None, bytes]]) -> None:
        """Send (key, value) pairs and wait until all are acknowledged.

        Raises:
            NotDurable: the local queue is full, or Kafka did not acknowledge every record within 10 s.
        """
        delivery = _Delivery(asyncio.get_running_loop().create_future(), len(records))
        try:
            for key, value in records:
                self._producer.produce(topic, value, key, on_delivery=delivery, headers=HEADERS)
        except (BufferError, KafkaException) as error:
            raise NotDurable(f"Kafka can't take more at the moment: {error}") from error
        self._in_flight += 1
        self._wake.set()
        try:
            await delivery.future
        finally:
            self._in_flight -= 1
        if delivery.error is not None:
            raise NotDurable(f"Kafka did not acknowledge: {delivery.error.str()}")

    async def check(self) -> None:
        """Ask the broker for its metadata.

        Raises:
            NotDurable: it does not answer within 1.5 s.
        """
        try:
            await asyncio.to_thread(self._producer.list_topics, timeout=1.5)
        except KafkaException as error:
            raise NotDurable(f"Kafka does not answer: {error.args[0].str()}") from error

    async def close(self) -> None:
        """Wait for what is under way, for at most 10 s."""
        self._pump.cancel()
        await asyncio.to_thread(self._producer.flush, 10)
