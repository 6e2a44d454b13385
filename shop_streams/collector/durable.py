"""Produce to Kafka from asyncio: `send` returns once every record is acknowledged by all in-sync replicas.

Delivery callbacks run inside `poll` on the event loop's own thread, so no record crosses a thread: that is what
makes thousands of single acknowledgements a second cheap.

Each topic has a client of its own. A broker answers the requests of a connection one after the other, so with one client for all
topics, a request that waited 8 s for a topic's replicas kept the records of all others waiting.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from shop_streams.cluster import Cluster
from shop_streams.kafka import producer
from shop_streams.kafka_access import refusal
from shop_streams.topics import VIA_COLLECTOR

_log = logging.getLogger("shop_streams.collector")
POLL_SECONDS = 0.001
PROBE_SECONDS = 1.0
PROBE_TIMEOUT = 3.0
# Of a cluster with several brokers: librdkafka asks the same one again, also if it hangs, until it gives its connection up.
FAILED_PROBES = 3  # in a row
ANSWER_MILLISECONDS = 5_000  # then a connection is given up; less than three probes take
STALLED_SECONDS = 5.0  # in flight for this long: Kafka answers, but does not acknowledge
DELIVERY_MILLISECONDS = 8_000  # less than a stop waits
QUEUE_RECORDS = 150_000  # librdkafka takes 400 B for each beside its bytes
QUEUE_BYTES = 67_108_864
HEADERS: Any = [(VIA_COLLECTOR, b"")]
# Kafka's usual max.message.bytes is 1,048,588; a batch's frame, the header and the record's lengths are below 200.
# Streams refuse a value of more than 1,048,576 bytes.
RECORD_BYTES = 1_048_000


class NotDurable(Exception):
    """Kafka did not acknowledge: the record may be lost, and the client must send it again."""


class TooLarge(Exception):
    """The record is too large for Kafka."""


class _Delivery:
    """The acknowledgements that one request waits for."""

    __slots__ = ("began", "error", "future", "missing")

    def __init__(self, future: asyncio.Future[None], missing: int, began: float) -> None:
        self.future = future
        self.missing = missing
        self.began = began
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError | None, _message: Any) -> None:
        self.missing -= 1
        if error is not None:
            self.error = error
        if self.missing <= 0 and not self.future.done():
            self.future.set_result(None)


class DurableProducer:
    """Idempotent producers with `acks=all`, one for each topic; one object for each event loop. `async with` starts and ends it.

    The topics share `queue_records` and `queue_bytes` equally, so that one of them can't take the room of the others.
    """

    def __init__(
        self,
        servers: Cluster,
        topics: Collection[str],
        queue_records: int = QUEUE_RECORDS,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        share = (queue_records // len(topics), queue_bytes // len(topics))
        self._topics = {topic: _TopicProducer(servers, topic, *share) for topic in topics}

    async def __aenter__(self) -> DurableProducer:
        await asyncio.gather(*[topic.start() for topic in self._topics.values()])
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.gather(*[topic.stop() for topic in self._topics.values()])

    def problem(self, topic: str) -> str | None:
        """Why nothing can be sent to the topic now, without a call to Kafka; None if records can be sent."""
        return self._topics[topic].problem

    def problems(self) -> dict[str, str | None]:
        """Each topic's `problem`."""
        return {name: topic.problem for name, topic in self._topics.items()}

    async def send(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes]], headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Send (key, value) pairs, all or none, and wait until all are acknowledged.

        Each of them gets `headers` beside the collector's own.

        Raises:
            TooLarge: a record is larger than RECORD_BYTES, or than the topic takes.
            NotDurable: Kafka is away, too much is in flight, or Kafka did not acknowledge every record within 8 s.
        """
        await self._topics[topic].send(records, headers)


class _TopicProducer:
    """The producer of one topic. `start` and `stop` belong to one event loop."""

    def __init__(self, servers: Cluster, topic: str, queue_records: int, queue_bytes: int) -> None:
        self._servers = servers
        self._topic = topic
        self._queue_records = queue_records
        self._queue_bytes = queue_bytes
        self._records = self._bytes = 0
        self._flying: deque[_Delivery] = deque()
        self._wake = asyncio.Event()
        self._failed, self._enough = 1, 1  # failed probes in a row; before the first one nothing is known
        self._down = False
        self._refused = ""

    async def start(self) -> None:
        self._producer = producer(
            self._servers,
            {
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "delivery.timeout.ms": DELIVERY_MILLISECONDS,
                "socket.timeout.ms": ANSWER_MILLISECONDS,
                # Above the limits of `send`: at these limits an array would be sent in part.
                "queue.buffering.max.messages": 2 * self._queue_records,
                "queue.buffering.max.kbytes": 4 * self._queue_bytes // 1024,
                "message.max.bytes": RECORD_BYTES + 512,
                "reconnect.backoff.max.ms": 1000,
                "compression.type": "lz4",
                "log_level": 3,
                "error_cb": self._heard,
            },
        )
        await self._probe()
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._keep_probing())]

    def _heard(self, error: KafkaError) -> None:
        """librdkafka's report of a refused login (the full sentence is for the log alone), or that no broker can be reached."""
        self._down = self._down or error.code() == KafkaError._ALL_BROKERS_DOWN
        refused = refusal(self._servers, error)
        if refused is not None and str(refused) != self._refused:
            _log.error("%s", refused)
        self._refused = str(refused) if refused else self._refused

    async def stop(self) -> None:
        """Wait at most 2 s for records in flight: their requests are answered or gone."""
        for task in self._tasks:
            task.cancel()
        with suppress(KafkaException):
            await asyncio.to_thread(self._producer.flush, 2)

    async def _poll(self) -> None:
        while True:
            if not self._flying:
                self._wake.clear()
                await self._wake.wait()
            self._producer.poll(0)
            while self._flying and self._flying[0].future.done():
                self._flying.popleft()
            await asyncio.sleep(POLL_SECONDS)

    async def _keep_probing(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            await self._probe()

    async def _probe(self) -> None:
        try:
            found = await asyncio.to_thread(self._producer.list_topics, timeout=PROBE_TIMEOUT)
            self._enough = FAILED_PROBES if len(found.brokers) > 1 else 1
            self._producer.poll(0)  # of an idle topic, errors from before this answer wait to be heard
            self._succeeded()
        except KafkaException:
            self._failed += 1
            self._producer.poll(0)  # it calls `_heard`

    def _succeeded(self) -> None:
        self._failed, self._down, self._refused = 0, False, ""

    @property
    def problem(self) -> str | None:
        if self._failed >= self._enough or (self._failed and (self._down or self._refused)):
            return "Kafka refuses the collector; its log says why" if self._refused else "Kafka does not answer"
        if self._flying and asyncio.get_running_loop().time() - self._flying[0].began > STALLED_SECONDS:
            return f"Kafka has not acknowledged records of topic {self._topic} for {STALLED_SECONDS:.0f} s"
        return None

    async def send(self, records: Sequence[tuple[bytes | None, bytes]], headers: Sequence[tuple[str, bytes]]) -> None:
        size = 0
        every, header_bytes = HEADERS, 0
        if headers:
            every = [*HEADERS, *headers]
            header_bytes = sum(len(name) + len(value) for name, value in headers)
        for key, value in records:
            one = len(value) + (len(key) if key else 0) + header_bytes
            if one > RECORD_BYTES:
                raise TooLarge(f"An event's record would have {one} bytes; Kafka takes {RECORD_BYTES}")
            size += one
        if (problem := self.problem) is not None:
            raise NotDurable(problem)
        count = len(records)
        if self._records + count > self._queue_records or self._bytes + size > self._queue_bytes:
            raise NotDurable("Too much is in flight")
        loop = asyncio.get_running_loop()
        delivery = _Delivery(loop.create_future(), count, loop.time())
        produce = self._producer.produce
        self._records += count
        self._bytes += size
        try:
            for key, value in records:
                produce(self._topic, value, key, on_delivery=delivery, headers=every)
            self._flying.append(delivery)
            self._wake.set()
            await delivery.future
        except (BufferError, KafkaException) as error:
            self._end_if_fatal(error.args[0])
            raise NotDurable(f"Kafka can't take it: {error}") from error
        finally:
            self._records -= count
            self._bytes -= size
        if delivery.error is not None:
            self._end_if_fatal(delivery.error)
            if delivery.error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise TooLarge(f"Topic {self._topic} takes no record of that size (its max.message.bytes)")
            if refused := refusal(self._servers, delivery.error, self._topic):
                _log.error("%s", refused)
            raise NotDurable(f"Kafka did not acknowledge: {delivery.error.str()}")
        self._succeeded()

    def _end_if_fatal(self, error: Any) -> None:
        """End the process after a fatal error, since the producer then accepts nothing; its supervisor starts another."""
        if isinstance(error, KafkaError) and error.fatal():
            os.kill(os.getpid(), signal.SIGTERM)
