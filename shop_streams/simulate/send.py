"""Send simulated requests to the collector, and count the acknowledged ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential
from yarl import URL

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings

CONNECTIONS = 32
BUSY = (429, 503)

Request = tuple[str, URL | str, dict[str, Any]]
"""Method, path, and further arguments of aiohttp's `request`."""


class TryAgain(Exception):
    """The collector is down, or says that another attempt may succeed."""


class WrongToken(ShopStreamsError):
    """The collector refuses the token, so no other request can succeed."""


async def _request(client: aiohttp.ClientSession, request: Request) -> None:
    """Send once. Raises `TryAgain` if another attempt may succeed."""
    method, path, more = request
    try:
        async with client.request(method, path, **more) as answer:
            if answer.status == 200:
                return
            text = await answer.text()
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        raise TryAgain(f"{type(error).__name__}: {error}") from error
    if answer.status in BUSY:
        raise TryAgain(text)
    if answer.status in (401, 403):
        raise WrongToken(
            f"The collector at {answer.url.origin()} refuses the token ({answer.status}). Set SHOP_STREAMS_TRACK_TOKEN to "
            "the one that it was started with."
        )
    raise ShopStreamsError(f"The collector answered {answer.status} to {more.get('json', path)}: {text}")


_request_with_retries = retry(
    retry=retry_if_exception_type(TryAgain),
    wait=wait_exponential(0.2, max=3),
    stop=stop_after_delay(90),
    reraise=True,
)(_request)


async def _send_all(
    settings: Settings,
    name: str,
    requests: Iterable[Request],
    total: int,
    rate: float | None,
    progress: Progress,
) -> int:
    task = progress.add_task(name, total=total)
    queue: asyncio.Queue[Request | None] = asyncio.Queue(CONNECTIONS * 2)
    acknowledged = 0

    async def worker(client: aiohttp.ClientSession) -> None:
        nonlocal acknowledged
        while (request := await queue.get()) is not None:
            await _request_with_retries(client, request)
            acknowledged += 1
            progress.advance(task)

    async def feed() -> None:
        started = asyncio.get_running_loop().time()
        for number, request in enumerate(requests):
            if rate:
                await asyncio.sleep(max(0.0, started + number / rate - asyncio.get_running_loop().time()))
            await queue.put(request)
        for _ in range(CONNECTIONS):
            await queue.put(None)

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(settings.collector_url, connector=connector) as client:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CONNECTIONS):
                    group.create_task(worker(client))
                group.create_task(feed())
        except* WrongToken as refused:
            raise ShopStreamsError(str(refused.exceptions[0])) from refused
        except* (TryAgain, ShopStreamsError) as problems:
            first = problems.exceptions[0]
            hint = "\nIs the collector up? See `shop-streams status`." if isinstance(first, TryAgain) else ""
            message = f"{acknowledged} of {total} events were acknowledged, then: {first}{hint}"
            raise ShopStreamsError(message) from problems
    return acknowledged


def post(settings: Settings, path: str, events: Iterable[dict[str, Any]], total: int, rate: float | None = None) -> int:
    """`send` the events as POST requests with the token."""
    headers = {"X-Token": settings.track_token}
    return send(settings, path, (("POST", path, {"json": event, "headers": headers}) for event in events), total, rate)


def send(settings: Settings, name: str, requests: Iterable[Request], total: int, rate: float | None = None) -> int:
    """Send each request and return how many were acknowledged; shows a progress bar with this name.

    Args:
        rate: requests a second, or None for as fast as 32 connections go.

    Raises:
        ShopStreamsError: the collector refused a request, or accepted none for 90 s.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        return asyncio.run(_send_all(settings, name, requests, total, rate, progress))
