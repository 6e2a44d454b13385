"""A collector in this process with a producer that remembers, and clicks as a tag sends them."""

import asyncio
import io
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import fastavro
import mmh3

from shop_streams.collector.app import Collector
from shop_streams.collector.durable import NotDurable
from shop_streams.defs.clickstream.schema import CLICK_SCHEMA
from shop_streams.settings import Settings

TOPICS = ("events", "shop_events", "online_store")
PARTY = "0:i1t84hgy:5AF359Zjq5kUy98u4wQjlIZzWGhN~GlG"
SESSION = "0:i1t84hgy:95CbiPCYln_1e0a6rFvuRkDkeNnc6KC8"
VIEW = "0:1fF6GFGjDOQiEx_OxnTm_tl4BH91eGLF"
NOON = 1_767_268_800_000
assert datetime.fromtimestamp(NOON / 1000, UTC) == datetime(2026, 1, 1, 12, tzinfo=UTC)
FIELDS = {"p": PARTY, "s": SESSION, "v": VIEW, "e": f"{VIEW}0", "c": "", "n": "t", "f": "f", "t": "pageView"}
EVENT = {
    "session_id": SESSION,
    "event_id": "e1",
    "is_new_party": False,
    "is_new_session": True,
    "client_timestamp_iso": "2026-01-01T12:00:00Z",
    "event_type": "pageView",
}


def in_base36(number: int) -> str:
    digits, rest = "", abs(number)
    while True:
        rest, digit = divmod(rest, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if not rest:
            return f"-{digits}" if number < 0 else digits


def query(**changes: str | None) -> str:
    """The query of a click with its checksum, `changes` made (None: left out)."""
    fields = {**FIELDS, "c": in_base36(NOON), **changes}
    there = {name: value for name, value in fields.items() if value is not None and name != "x"}
    text = "".join(f"{name}={value},;" for name, value in sorted(there.items()))
    sent = "&".join(f"{name}={quote(value, safe='')}" for name, value in there.items())
    if "x" not in changes:
        return f"{sent}&x={in_base36(mmh3.hash(text.encode(), 0))}"
    return sent if changes["x"] is None else f"{sent}&x={changes['x']}"


def mincode(value: Any, name: str = "") -> str:
    """What Divolte's tag makes of a value."""

    def text(words: str) -> str:
        return words.replace("~", "~~").replace("!", "~!") + "!"

    prefix = text(name[1:]) if name else ""  # a name has a mark before it, since it may be empty
    match value:
        case None:
            return f"n{prefix}"
        case bool():
            return f"{'t' if value else 'f'}{prefix}"
        case int():
            return f"d{prefix}{in_base36(value)}!"
        case float():
            return f"j{prefix}{value!r}!" if math.isfinite(value) else f"n{prefix}"
        case str():
            return f"s{prefix}{text(value)}"
        case list():
            return f"a{prefix}{''.join(mincode(one) for one in value)}."
    return f"({prefix}{''.join(mincode(one, f'.{key}') for key, one in value.items())})"


class Headers(dict[str, str]):
    """A request's headers; a line feed stands between two of one name."""

    def get_all(self, name: str) -> list[str]:
        return self[name].split("\n") if name in self else []


@dataclass
class Producer:
    """Remembers records; it takes none of topics that are `ill`: topic -> its problem."""

    ill: dict[str, str] = field(default_factory=dict)
    sent: list[tuple[str, bytes, bytes, dict[str, bytes]]] = field(default_factory=list)

    def problem(self, topic: str) -> str | None:
        return self.ill.get(topic)

    def problems(self) -> dict[str, str | None]:
        return {topic: self.ill.get(topic) for topic in TOPICS}

    async def send(self, topic: str, records: Sequence[tuple[bytes, bytes]], headers: Any = ()) -> None:
        if topic in self.ill:
            raise NotDurable(self.ill[topic])
        for key, value in records:
            self.sent.append((topic, key, value, dict(headers)))


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Proto:
    """The other side of one request."""

    body: bytes
    answers: list[Answer] = field(default_factory=list)

    async def __call__(self) -> bytes:
        return self.body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.body), 1000):
            yield self.body[at : at + 1000]

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answers.append(Answer(status, dict(headers), body))

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.answers.append(Answer(status, dict(headers)))


class Client:
    """Asks a collector in this process."""

    def __init__(self, **settings: Any) -> None:
        self.producer = Producer()
        self.collector = Collector(Settings(**settings), self.producer)  # type: ignore[arg-type]

    def ask(
        self, method: str = "GET", path: str = "/csc-event", query: str = "", headers: Mapping[str, str] | None = None,
        body: bytes = b"", client: str = "203.0.113.7:1234",
    ) -> Answer:  # fmt: skip
        scope = SimpleNamespace(
            path=path, method=method, query_string=query, headers=Headers(headers or {}), client=client
        )
        proto = Proto(body)
        asyncio.run(self.collector.__rsgi__(scope, proto))
        (answer,) = proto.answers
        return answer

    def post(self, body: bytes, party: str = PARTY, **headers: str) -> Answer:
        sent = {"content-type": "application/json", "content-length": str(len(body))}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", "/event", f"p={quote(party, safe='')}", sent, body)

    def clicks(self) -> dict[str, int]:
        """Outcome, and the reason if there is one -> the number of clicks."""
        found = {}
        for line in self.ask(path="/metrics").body.decode().splitlines():
            if line.startswith("collector_clicks_total{"):
                _, outcome, _, reason, count = line.split('"')
                found[f"{outcome}: {reason}" if reason else outcome] = int(float(count.removeprefix("} ")))
        return found

    def records(self) -> list[dict[str, Any]]:
        """The records' Avro."""
        return [decoded(value) for _, _, value, _ in self.producer.sent]


def decoded(value: bytes) -> dict[str, Any]:
    source = io.BytesIO(value)
    record: Any = fastavro.schemaless_reader(source, fastavro.parse_schema(dict(CLICK_SCHEMA)), None)
    assert not source.read(), "a record has nothing behind it"
    return dict(record)
