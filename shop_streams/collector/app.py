"""The collector as an RSGI application: endpoints for events, and pages for operators.

POST /track, /shop-events    one event or an array of them: 200 once Kafka has all of them
GET /csc-event, /divolte.js, POST /event    clicks and their tag, for everybody (public.py)
GET /livez                   200 as long as the process answers
GET /readyz, /healthz        200 when events of at least one topic are accepted; answered without a call to Kafka
GET /metrics                 every answer by endpoint and status, in Prometheus' format
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from granian.rsgi import ProtocolClosed

from shop_streams.collector.access import same_token
from shop_streams.collector.body import BodyReader
from shop_streams.collector.durable import DurableProducer, NotDurable, TooLarge
from shop_streams.collector.metrics import CONTENT_TYPE, Answers
from shop_streams.collector.models import Endpoint, endpoints
from shop_streams.collector.public import ClickEndpoints
from shop_streams.collector.refusals import RefusalLog, Refused, unavailable
from shop_streams.settings import Settings

MAX_EVENTS = 1000
RETRY_AFTER_SECONDS = 2
LARGE_BODY = 65_536
JSON = [("content-type", "application/json")]
_FIELD = re.compile(r"`\$(?:\[[^\]]*\])?\.?([^`]*)`|field `([^`]+)`")
_encode = msgspec.json.Encoder().encode


class EventEndpoint:
    """`POST` of one event or an array of them: the hot path."""

    def __init__(self, endpoint: Endpoint, token: bytes, reader: BodyReader, producer: DurableProducer) -> None:
        self._endpoint = endpoint
        self._token = token
        self._reader = reader
        self._producer = producer

    async def accept(self, scope: Any, proto: Any) -> bytes:
        """Send the request's events to Kafka.

        Returns:
            The body of the answer 200.

        Raises:
            Refused: any other answer.
            ProtocolClosed: the connection ended before the body did.
        """
        if scope.method != "POST":
            raise Refused(405, "Use POST", allow="POST")
        headers = scope.headers
        if not same_token(headers.get("x-token"), self._token):
            raise Refused(401, "The header X-Token is missing or wrong", drain=True)
        if (headers.get("content-type") or "").split(";")[0].strip().lower() != "application/json":
            raise Refused(415, "Content-Type must be application/json", drain=True)
        if (problem := self._producer.problem(self._endpoint.topic.name)) is not None:
            raise unavailable(problem, drain=True)
        body = await self._reader.read(headers, proto)
        many = body.lstrip()[:1] == b"["
        if len(body) < LARGE_BODY:
            events = self._decode(body, many)
        else:  # validating it may take long, and other requests would wait
            events = await asyncio.to_thread(self._decode, body, many)
        records = [self._endpoint.store(event) for event in events]
        try:
            await self._producer.send(self._endpoint.topic.name, [(key, value) for _, key, value in records])
        except TooLarge as error:
            raise Refused(413, str(error)) from error
        except NotDurable as error:
            raise unavailable(str(error)) from error
        if many:
            ids = [event_id for event_id, _, _ in records]
            return _encode({"detail": "Events created", "count": len(ids), "event_ids": ids})
        return b'{"detail":"Event created","event_id":"%s"}' % records[0][0].encode()

    def _decode(self, body: bytes, many: bool) -> list[Any]:
        try:
            events = self._endpoint.decode_many(body) if many else [self._endpoint.decode_one(body)]
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


class Collector:
    """The application. `producer` must be running while it serves."""

    def __init__(self, settings: Settings, producer: DurableProducer) -> None:
        self._producer = producer
        self._answers = Answers()
        self._log = RefusalLog(settings.track_token)
        self._reader = BodyReader(settings.body_limit_bytes)
        token = settings.track_token.encode()
        self._endpoints = {
            endpoint.path: EventEndpoint(endpoint, token, self._reader, producer)
            for endpoint in endpoints(settings.first_day)
        }
        self._clicks = ClickEndpoints(settings, producer, self._answers)
        self._pages = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/healthz": self._readyz,
            "/metrics": self._metrics,
        }

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        path = scope.path
        endpoint = self._endpoints.get(path)
        try:
            if endpoint is None:
                await self._answer_others(path, scope, proto)
                return
            body = await endpoint.accept(scope, proto)
        except Refused as refused:
            await self._refuse(path, scope, proto, refused)
        except ProtocolClosed:
            self._answers.count(path, 499)  # the client is gone; the event is dropped
        except (Exception, asyncio.CancelledError) as error:  # also when the process ends: the server would answer 500
            await self._refuse(path, scope, proto, unavailable(type(error).__name__))
            raise
        else:
            proto.response_bytes(200, JSON, body)
            self._answers.count(path, 200)

    async def _refuse(self, path: str, scope: Any, proto: Any, refused: Refused) -> None:
        public = path in self._clicks.paths
        headers = [*JSON, *self._clicks.common_headers(scope)] if public else list(JSON)
        if refused.status in (429, 503):
            headers.append(("retry-after", str(RETRY_AFTER_SECONDS)))
        if (allow := refused.body.pop("allow", None)) is not None:
            headers.append(("allow", allow))
        if refused.drain:
            await self._reader.drain(proto)
        proto.response_bytes(refused.status, headers, _encode(refused.body))
        known = public or path in self._endpoints or path in self._pages
        self._answers.count(path if known else "unknown", refused.status)
        # Addresses of shoppers are not stored, in the log neither.
        self._log.add("-" if public else scope.client, scope.method, path, refused)

    async def _answer_others(self, path: str, scope: Any, proto: Any) -> None:
        if (answer := self._clicks.paths.get(path)) is not None:
            status, headers, body = await answer(scope, proto)
            if body:
                proto.response_bytes(status, headers, body)
            else:
                proto.response_empty(status, headers)
            self._answers.count(path, status)
            return
        page = self._pages.get(path)
        if page is None:
            raise Refused(404, "There is no such path")
        if scope.method not in ("GET", "HEAD"):
            raise Refused(405, "Use GET", allow="GET, HEAD")
        status, headers, body = page()
        proto.response_bytes(status, headers, body)
        self._answers.count(path, status)

    def _livez(self) -> tuple[int, list[tuple[str, str]], bytes]:
        return 200, JSON, b'{"alive":true}'

    def _readyz(self) -> tuple[int, list[tuple[str, str]], bytes]:
        problems = list(self._producer.problems().values())
        if not any(problems):
            return 200, JSON, b'{"healthy":true}'
        # With the problem of one topic, a load balancer must not take the endpoints of the others away.
        healthy = not all(problems)
        reason = "; ".join(dict.fromkeys(problem for problem in problems if problem))
        return 200 if healthy else 503, JSON, _encode({"healthy": healthy, "reason": reason})

    def _metrics(self) -> tuple[int, list[tuple[str, str]], bytes]:
        return 200, [("content-type", CONTENT_TYPE)], self._answers.text()
