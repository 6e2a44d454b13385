"""The collector's ASGI application: Starlette routes, and one lean endpoint for all doors."""

from __future__ import annotations

import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop_streams.collector.durable import DurableProducer, NotDurable
from shop_streams.collector.models import DOORS, Door
from shop_streams.settings import Settings

MAX_EVENTS = 1000
RETRY_AFTER_SECONDS = 2
_FIELD = re.compile(r"`\$(?:\[[^\]]*\])?\.?([^`]*)`|field `([^`]+)`")


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"detail": detail, **more}


class EventDoor:
    """`POST` of one event or an array of them, as a plain ASGI endpoint: it is the hot path."""

    def __init__(self, door: Door, settings: Settings) -> None:
        self._door = door
        self._token = settings.track_token.encode()
        self._limit = settings.body_limit_bytes
        self.producer: DurableProducer | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            status, body = 200, await self._accept(scope, receive)
        except Refused as refused:
            status, body = refused.status, msgspec.json.encode(refused.body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if status == 503:
            headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
        if status == 405:
            headers.append((b"allow", b"POST"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _accept(self, scope: Any, receive: Any) -> bytes:
        if scope["method"] != "POST":
            raise Refused(405, "Use POST")
        self._check_headers(scope["headers"])
        body = await self._read(receive)
        records = [self._door.store(event) for event in self._decode(body)]
        assert self.producer is not None, "the lifespan has not begun"
        try:
            await self.producer.send(self._door.topic.name, [(key, value) for _, key, value in records])
        except NotDurable as error:
            raise Refused(503, f"{error}. Nothing is promised: send it again, with the same event_id.") from error
        if body.lstrip()[:1] == b"[":
            ids = [event_id for event_id, _, _ in records]
            return msgspec.json.encode({"detail": "Events created", "count": len(ids), "event_ids": ids})
        return b'{"detail":"Event created","event_id":"%s"}' % records[0][0].encode()

    def _check_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        token = content_type = b""
        for name, value in headers:
            if name == b"x-token":
                token = value
            elif name == b"content-type":
                content_type = value
            elif name == b"content-length" and value.isdigit() and int(value) > self._limit:
                raise Refused(413, f"The body is larger than {self._limit} bytes")
        if not hmac.compare_digest(token, self._token):
            raise Refused(401, "The header X-Token is missing or wrong")
        if content_type.split(b";")[0].strip().lower() != b"application/json":
            raise Refused(415, "Content-Type must be application/json")

    async def _read(self, receive: Any) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body", False):
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._limit:
                break
        if len(body) > self._limit:
            raise Refused(413, f"The body is larger than {self._limit} bytes")
        return body

    def _decode(self, body: bytes) -> list[Any]:
        many = body.lstrip()[:1] == b"["
        try:
            events = self._door.decode_many(body) if many else [self._door.decode_one(body)]
        except msgspec.ValidationError as error:
            raise Refused(422, str(error), field=field_of(str(error))) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(422, f"Not JSON: {error}", field="body") from error
        if not 0 < len(events) <= MAX_EVENTS:
            raise Refused(422, f"An array holds 1 to {MAX_EVENTS} events, not {len(events)}", field="body")
        return events


def field_of(message: str) -> str:
    """The name of the field that a validation error is about; `body` when it is about the whole."""
    for match in reversed(list(_FIELD.finditer(message))):
        name = match.group(1) or match.group(2)
        if name:
            return name
    return "body"


def build_app(settings: Settings) -> Starlette:
    """The application, with a producer of its own for as long as it lives."""
    doors = [EventDoor(door, settings) for door in DOORS]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        producer = DurableProducer(settings.kafka)
        app.state.producer = producer
        for door in doors:
            door.producer = producer
        yield
        await producer.close()

    async def healthz(request: Request) -> JSONResponse:
        try:
            await request.app.state.producer.check()
        except NotDurable as error:
            return JSONResponse({"healthy": False, "reason": str(error)}, status_code=503)
        return JSONResponse({"healthy": True})

    routes = [Route(door.path, endpoint) for door, endpoint in zip(DOORS, doors, strict=True)]
    return Starlette(routes=[*routes, Route("/healthz", healthz)], lifespan=lifespan)
