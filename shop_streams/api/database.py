"""The database as the API asks it: from few threads, and with a limit for everything that waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg2
from sqlalchemy.exc import SQLAlchemyError

from shop_streams.postgres import ReadPool

WAITING_REQUESTS = 128
WAIT_SECONDS = 1.0
Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


class Unavailable(Exception):
    """The database does not answer, or refuses, or all connections are in use. The text has no address and no user."""


class Database:
    """A pool of connections, and as many threads."""

    def __init__(self, dsn: str, connections: int, statement_seconds: float) -> None:
        self._pool = ReadPool(dsn, connections, statement_seconds)
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="database")
        self._free = asyncio.Semaphore(connections)
        self._waiting = 0

    async def ask(self, question: Callable[[Any], Answer], **options: Any) -> Answer:
        """What `question` returns, which is called in a thread with a cursor that has psycopg2's `options`.

        Raises:
            Unavailable: see there. The reason goes to the log.
        """
        await self._acquire()
        loop = asyncio.get_running_loop()

        def run() -> Answer:
            try:
                with self._pool.cursor(**options) as cursor:
                    return question(cursor)
            finally:  # also when the request was cancelled: the thread is busy until here
                loop.call_soon_threadsafe(self._free.release)

        try:
            return await asyncio.wrap_future(self._threads.submit(run))
        except (psycopg2.Error, SQLAlchemyError) as error:
            _log.warning("PostgreSQL does not answer: %s", " ".join(str(error).split()))
            raise Unavailable("The database does not answer") from None

    async def _acquire(self) -> None:
        """Wait for a free thread, but not long, and only if few requests wait."""
        if self._waiting >= WAITING_REQUESTS:
            raise Unavailable("Too many requests wait for the database")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._free.acquire(), WAIT_SECONDS)
        except TimeoutError:
            raise Unavailable("All connections to the database are in use") from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads and the connections."""
        self._threads.shutdown()
        self._pool.close()
