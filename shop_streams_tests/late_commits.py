"""A TCP proxy in front of one broker: it lets single requests to end a transaction (EndTxn) arrive late."""

import asyncio
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from shop_streams.topics import Topic
from shop_streams_tests.broker import Broker, running_broker
from shop_streams_tests.harness import free_ports

PRODUCE, END_TXN = 0, 26  # api keys
ANSWER_SECONDS = 30.0
IN_THE_NEXT = 0.0

Delay = Callable[[int], float | None]
"""Number of an EndTxn -> seconds until the broker gets it, or None for one that is not late.

`IN_THE_NEXT`: when the next transaction has written its first records, before the client learns that they are written.
"""


class Proxy:
    """Forwards whole requests and answers, except each EndTxn that has a `delay`.

    The client of a late one loses its connection, as if the network had failed, and sends its request again.

    `versions`: of each EndTxn, the version of its protocol. `answers`: the broker's error code for each late one.
    """

    def __init__(self, port: int, broker_port: int, delay: Delay) -> None:
        self._port, self._broker_port, self._delay = port, broker_port, delay
        self._held: list[bytes] = []
        self._sleeping: set[asyncio.Task[None]] = set()
        self._ended = False
        self.versions: list[int] = []
        self.answers: list[int] = []

    async def serve(self, ready: threading.Event) -> None:
        """Listen until `stop`."""
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", self._port)
        ready.set()
        await self._over.wait()
        server.close()

    def stop(self) -> None:
        """From another thread."""
        self._loop.call_soon_threadsafe(self._over.set)

    async def _client(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        written: set[bytes] = set()  # correlation ids of this connection's produce requests
        with suppress(OSError, asyncio.IncompleteReadError):
            broker, forth = await asyncio.open_connection("127.0.0.1", self._broker_port)
            answers = asyncio.create_task(self._answers(broker, back, written))
            try:
                while True:
                    frame = await _frame(client)
                    kind, version = struct.unpack_from(">hh", frame, 4)
                    if kind == PRODUCE:
                        written.add(frame[8:12])
                    elif kind == END_TXN:
                        self.versions.append(version)
                        delay = self._delay(len(self.versions) - 1)
                        if delay is not None:
                            self._hold(frame, delay)
                            return
                        self._ended = True
                    forth.write(frame)
                    await forth.drain()
            finally:
                answers.cancel()
                forth.close()
                back.close()

    async def _answers(self, broker: asyncio.StreamReader, back: asyncio.StreamWriter, written: set[bytes]) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(broker)
                # Only once a later EndTxn has passed: then these records are of the next transaction.
                if frame[4:8] in written and self._held and self._ended:
                    held, self._held = self._held, []
                    for one in held:
                        await self._deliver(one)
                back.write(frame)
                await back.drain()
        back.close()

    def _hold(self, frame: bytes, delay: float) -> None:
        if delay == IN_THE_NEXT:
            self._held.append(frame)
            self._ended = False
        else:
            task = asyncio.create_task(self._deliver(frame, delay))
            self._sleeping.add(task)
            task.add_done_callback(self._sleeping.discard)

    async def _deliver(self, frame: bytes, delay: float = 0) -> None:
        await asyncio.sleep(delay)
        broker, forth = await asyncio.open_connection("127.0.0.1", self._broker_port)
        forth.write(frame)
        answer = await asyncio.wait_for(_frame(broker), ANSWER_SECONDS)
        self.answers.append(struct.unpack_from(">h", answer, 12)[0])  # after size, correlation id and throttle time
        forth.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """A whole request or answer, with its size in front."""
    size = await reader.readexactly(4)
    return size + await reader.readexactly(struct.unpack(">i", size)[0])


@contextmanager
def broker_behind_proxy(delay: Delay, *topics: Topic) -> Iterator[tuple[Broker, Proxy]]:
    """A broker that every client reaches through the proxy, itself too."""
    port, broker_port = free_ports(2)
    proxy, ready = Proxy(port, broker_port, delay), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve(ready)), name="proxy", daemon=True)
    thread.start()
    try:
        assert ready.wait(10), "the proxy listens"
        advertised = f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}"
        with running_broker(port=broker_port, topics=topics, properties=advertised) as broker:
            yield broker, proxy
    finally:
        proxy.stop()
        thread.join(10)
