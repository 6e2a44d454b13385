"""Answers for several requests: asked for together, or kept in memory while they are still right."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 0.1
KEPT_BYTES = 64 * 1024 * 1024
KEPT_ANSWERS = 1000


@dataclass(eq=False)
class _Kept:
    version: str
    answer: asyncio.Task[bytes]
    size: int = 0


class Cache:
    """For each key the answer of its newest version; the least recently used ones are dropped first.

    Requests for the same key and version wait for one computation. A version must be read before its computation begins: then
    the answer is at least as new as the version.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES, kept_answers: int = KEPT_ANSWERS) -> None:
        self._kept_bytes = kept_bytes
        self._kept_answers = kept_answers
        self._found: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._bytes = 0

    async def get(self, key: Hashable, version: str, compute: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer of this version: a kept one, or that of `compute`, whose error every waiting request gets."""
        found = self._found.get(key)
        if found is None or found.version != version:
            self._drop(key)
            found = self._found[key] = _Kept(version, asyncio.ensure_future(compute()))
            found.answer.add_done_callback(lambda answer: self._keep(key, answer))
        self._found.move_to_end(key)
        return await asyncio.shield(found.answer)  # a request that is cancelled leaves it to the others

    def _keep(self, key: Hashable, answer: asyncio.Future[bytes]) -> None:
        """Count the bytes of a new answer; an error is not kept."""
        found = self._found.get(key)
        failed = answer.cancelled() or answer.exception() is not None
        if found is None or found.answer is not answer:
            return
        if failed:
            self._drop(key)
            return
        found.size = len(answer.result())
        self._bytes += found.size
        while self._bytes > self._kept_bytes or len(self._found) > self._kept_answers:
            self._drop(next(iter(self._found)))

    def _drop(self, key: Hashable) -> None:
        if found := self._found.pop(key, None):
            self._bytes -= found.size


class Together:
    """Requests with the same question at the same time ask it once. It is asked after each of them has come, so that what was
    written before a request is in its answer: requests that come while it is asked wait for the next time.
    """

    def __init__(self) -> None:
        self._asked: dict[Hashable, asyncio.Task[Any]] = {}
        self._next: dict[Hashable, asyncio.Task[Any]] = {}

    async def ask(self, key: Hashable, question: Callable[[], Awaitable[Any]]) -> Any:
        """What `question` returns, or raises."""
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.ensure_future(self._ask(key, question, self._asked.get(key)))
        return await asyncio.shield(task)

    async def _ask(
        self, key: Hashable, question: Callable[[], Awaitable[Any]], before: asyncio.Task[Any] | None
    ) -> Any:
        if before is not None:  # but not long: a database that hangs may answer on another connection
            await asyncio.wait({before}, timeout=PATIENCE_SECONDS)
        self._asked[key] = task = self._next.pop(key)
        try:
            return await question()
        finally:
            if self._asked.get(key) is task:
                del self._asked[key]
