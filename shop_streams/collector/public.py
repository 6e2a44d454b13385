"""The endpoints of clickstream, which any browser may call, so that no token is possible.

GET /csc-event       a click of the tag: a transparent pixel, whatever came, once Kafka has the click
POST /event?p=…      a click of another client, as JSON: 204 once Kafka has it
GET /divolte.js      the tag
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from shop_streams.addresses import listed
from shop_streams.collector.body import BodyReader
from shop_streams.collector.clicks import ClickRules
from shop_streams.collector.divolte import QUERY_CHARACTERS, Click, Dropped, read_event, read_query, split_query
from shop_streams.collector.durable import DurableProducer, NotDurable, TooLarge
from shop_streams.collector.metrics import Answers
from shop_streams.collector.mincode import Unreadable
from shop_streams.collector.peers import Peers, RateLimit
from shop_streams.collector.refusals import Refused, unavailable
from shop_streams.defs.clickstream.schema import CLICKS_TOPIC
from shop_streams.settings import Settings
from shop_streams.web.bundles import DIST

TAG = DIST / "divolte.js"
EVENT_BYTES = 16_384  # 4,096 are promised
BURST_SECONDS = 10  # an address may send the clicks of so long at once
TAG_SECONDS = 3_600  # a browser uses a tag for so long without asking
PREFLIGHT_SECONDS = "86400"
PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
PIXEL_ETAG = '"shop-streams-pixel"'  # of a cache that keeps the pixel although it must not

HeaderList = list[tuple[str, str]]
Answer = tuple[int, HeaderList, bytes]
COMMON: HeaderList = [("x-content-type-options", "nosniff"), ("cross-origin-resource-policy", "cross-origin")]
NO_STORE: HeaderList = [*COMMON, ("cache-control", "no-store")]
_log = logging.getLogger("shop_streams.collector")


class ClickEndpoints:
    """`paths` maps each path to its endpoint: (scope, proto) -> status, headers and body.

    An endpoint raises Refused for other answers, whose headers must include `common_headers`.
    """

    def __init__(self, settings: Settings, producer: DurableProducer, counters: Answers, tag: Path = TAG) -> None:
        self._producer = producer
        self._counters = counters
        self._rules = ClickRules(settings)
        self._peers = Peers(settings.click_proxies)
        self._rate = settings.click_rate
        self._limit = RateLimit(settings.click_rate, settings.click_rate * BURST_SECONDS)
        self._origins = frozenset(listed(settings.click_origins))
        self._honor_dnt = settings.click_honor_dnt
        self._reader = BodyReader(EVENT_BYTES)
        self._tag = read_tag(tag)
        self.paths: dict[str, Callable[[Any, Any], Awaitable[Answer]]] = {
            "/csc-event": self._pixel, "/event": self._event, "/divolte.js": self._script,
        }  # fmt: skip

    def common_headers(self, scope: Any) -> HeaderList:
        """The headers of an answer that no cache may keep."""
        return NO_STORE if not self._origins else [*NO_STORE, *self._cors(scope)]

    def _cors(self, scope: Any) -> HeaderList:
        if not self._origins:
            return []
        origin = scope.headers.get("origin")
        allowed = [("access-control-allow-origin", origin)] if origin in self._origins else []
        return [("vary", "origin"), *allowed]

    async def _pixel(self, scope: Any, _proto: Any) -> Answer:
        if scope.method != "GET":
            raise Refused(405, "Use GET", allow="GET")
        headers = [*self.common_headers(scope), ("etag", PIXEL_ETAG)]
        if _matches(scope.headers.get("if-none-match"), PIXEL_ETAG):
            return 304, headers, b""
        address = self._admit(scope)
        await self._record(scope, address, lambda: read_query(scope.query_string))
        return 200, [("content-type", "image/gif"), *headers], PIXEL

    async def _event(self, scope: Any, proto: Any) -> Answer:
        if scope.method == "OPTIONS" and scope.headers.get("access-control-request-method") is not None:
            return self._preflight(scope)
        if scope.method != "POST":
            raise Refused(405, "Use POST", allow="POST, OPTIONS")
        address = self._admit(scope)
        kinds = scope.headers.get_all("content-type")
        if [kind.lower() for kind in kinds] != ["application/json"]:
            raise Refused(415, "Content-Type must be application/json, without parameters", drain=True)
        try:
            body = await self._reader.read(scope.headers, proto)
        except Refused as refused:
            if refused.status == 422:  # not gzip, although the header says so
                raise Refused(400, str(refused)) from refused
            raise
        try:
            await self._record(scope, address, lambda: read_event(_party(scope.query_string), body))
        except Unreadable as error:
            raise Refused(400, str(error)) from error
        return 204, self.common_headers(scope), b""

    def _preflight(self, scope: Any) -> Answer:
        if scope.headers.get("origin") not in self._origins:
            raise Refused(403, "This origin is not in SHOP_STREAMS_CLICK_ORIGINS")
        return 204, [
            *self.common_headers(scope), ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "content-type"), ("access-control-max-age", PREFLIGHT_SECONDS),
        ], b""  # fmt: skip

    async def _script(self, scope: Any, _proto: Any) -> Answer:
        if scope.method not in ("GET", "HEAD"):
            raise Refused(405, "Use GET", allow="GET, HEAD")
        if self._tag is None:
            raise Refused(503, "The tag is not built. Run `make setup`, then start the collector again.")
        script, etag = self._tag
        headers = [*COMMON, *self._cors(scope), ("cache-control", f"public, max-age={TAG_SECONDS}"), ("etag", etag)]
        if _matches(scope.headers.get("if-none-match"), etag):
            return 304, headers, b""
        return 200, [("content-type", "text/javascript; charset=utf-8"), *headers], script

    def _admit(self, scope: Any) -> str:
        """The sender's address.

        Raises:
            Refused: 429, it has sent too many clicks.
        """
        peer, is_this_machine = self._peers.of(scope)
        if not is_this_machine and not self._limit.take(peer.limited_by):
            raise Refused(429, f"More than {self._rate} clicks a second from one address", drain=scope.method == "POST")
        return peer.address

    async def _record(self, scope: Any, address: str, read: Callable[[], Click]) -> None:
        """Record the click that `read` returns, or count why it is dropped.

        Raises:
            Refused: 503, Kafka did not acknowledge it.
        """
        try:
            if self._honor_dnt and (scope.headers.get("dnt") == "1" or scope.headers.get("sec-gpc") == "1"):
                raise Dropped("do_not_track")
            click = read()
            self._rules.check(click)
            key, value, headers = self._rules.record(click, time.time_ns() // 1_000_000, address)
            await self._producer.send(CLICKS_TOPIC.name, [(key, value)], headers)
        except Dropped as dropped:
            self._counters.count_click("dropped", str(dropped))
        except TooLarge:
            self._counters.count_click("dropped", "too_large")
        except NotDurable as error:
            raise unavailable(str(error)) from error
        else:
            self._counters.count_click("corrupt" if click.corrupt else "recorded")


def read_tag(path: Path) -> tuple[bytes, str] | None:
    """The tag and its ETag; None, with a line in the log, if it is not built."""
    try:
        script = path.read_bytes()
    except FileNotFoundError:
        _log.error("%s is missing, so /divolte.js answers 503. Run `make setup`, then start the collector again.", path)
        return None
    return script, f'"{hashlib.sha256(script).hexdigest()[:32]}"'


def _matches(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in if_none_match.split(","))


def _party(query: str) -> str:
    return split_query(query[:QUERY_CHARACTERS]).get("p", [""])[0]
