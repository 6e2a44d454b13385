"""Serve an application on Granian, HTTP/1.1 only, in one process, so that a killed service leaves no workers.

Limits for clients:
    HEAD_BYTES                      a request head that is longer is refused
    HEAD_SECONDS                    a connection that has not sent a complete request head by then is closed
    CONNECTIONS, PEER_CONNECTIONS   connections at the same time, in total and for each peer address
    STOP_SECONDS                    after SIGTERM, requests that are not answered by then are cut off
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
from collections import Counter
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

CONNECTIONS = 8192
PEER_CONNECTIONS = 512
HEAD_BYTES = 65_536
HEAD_SECONDS = 20  # for idle connections too; aiohttp's clients close theirs first, after 15 s
STOP_SECONDS = 9.0
GUARD_SECONDS = 0.5
_SPARE_FILES = 256  # for Kafka, the log, and sockets that are being closed


def serve(
    app: Any,
    host: str,
    port: int,
    *,
    interface: Interfaces = Interfaces.ASGINL,
    lifespan: AbstractAsyncContextManager[Any] | None = None,
    peer_connections: int = PEER_CONNECTIONS,
) -> None:
    """Serve `app` on `host`:`port` until SIGTERM or SIGINT, inside `lifespan`."""
    backpressure = min(CONNECTIONS, max(64, raise_file_limit() - _SPARE_FILES))

    async def run() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        async with lifespan or nullcontext():
            server = Server(
                app, address=host, port=port, interface=interface, http=HTTPModes.http1, websockets=False, backlog=4096,
                backpressure=backpressure,
                http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000, max_buffer_size=HEAD_BYTES),
            )  # fmt: skip
            serving = asyncio.create_task(server.serve())
            guard = asyncio.create_task(_limit_peers(port, peer_connections))
            stopped = asyncio.create_task(stopping.wait())
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            server.stop()
            _, late = await asyncio.wait({serving}, timeout=STOP_SECONDS)
            guard.cancel()
        if late or not stopping.is_set():
            # Granian waits for its clients without limit. If the server ended by itself, exit code 1 has it restarted.
            os._exit(0 if stopping.is_set() else 1)

    # What is loaded by now stays. A full collection would look through all of it, 45 ms for FastAPI, while all requests wait.
    gc.collect()
    gc.freeze()
    uvloop.run(run())


def raise_file_limit() -> int:
    """Raise the limit of open files as far as the system allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 2 * CONNECTIONS
    with suppress(ValueError, OSError):  # macOS has a second, lower limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft


async def _limit_peers(port: int, limit: int) -> None:
    seen: dict[tuple[str, int], None] = {}
    while True:
        await asyncio.sleep(GUARD_SECONDS)
        seen = close_excess(port, limit, seen)


def close_excess(port: int, limit: int, seen: dict[tuple[str, int], None]) -> dict[tuple[str, int], None]:
    """Close the newest connections of each peer with more than `limit`; return the remaining (host, port), oldest first.

    Granian has no limit for a peer and does not expose its sockets, so they are found among this process's open files.
    """
    files = os.listdir("/dev/fd")  # noqa: PTH208 (thousands of names, twice a second)
    if len(files) <= limit:
        return {}
    found: dict[tuple[str, int], int] = {}
    for name in files:
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as one:
            if one.family in (socket.AF_INET, socket.AF_INET6) and one.getsockname()[1] == port:
                peer = one.getpeername()  # a listening socket has none
                found[peer[0], peer[1]] = int(name)
    ordered = dict.fromkeys([peer for peer in seen if peer in found] + [peer for peer in found if peer not in seen])
    count: Counter[str] = Counter()
    stay: dict[tuple[str, int], None] = {}
    for peer in ordered:
        count[peer[0]] += 1
        if count[peer[0]] <= limit:
            stay[peer] = None
            continue
        # Check the peer again: the file number may belong to another connection by now.
        with suppress(OSError), socket.socket(fileno=os.dup(found[peer])) as one:
            if one.getpeername()[:2] == peer:
                one.shutdown(socket.SHUT_RDWR)
    return stay
