"""Clicks as Divolte's clients send them: the query of `GET /csc-event`, and the body of `POST /event`.

Pure functions. What is conforming was read from Divolte's own sources: its tag, its mincode parser and its request handlers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

import mmh3
import msgspec

from shop_streams.collector.mincode import MAX_DEPTH, Unreadable, base36, decode
from shop_streams.rules import LAST_MILLISECOND

QUERY_CHARACTERS = 16_000  # 7,000 are promised; letters that are not ASCII take six characters or more
ID_CHARACTERS = 128
REQUIRED = tuple("psvecnf")
_RANDOM = re.compile(r"[!-9;-~]+")  # visible ASCII without the colon
_USUAL = re.compile(r"[1-9a-z][0-9a-z]*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode


class Dropped(Exception):
    """The click is not recorded; the one argument is the reason, a label of the metrics."""


@dataclass(slots=True)
class Click:
    """What a client says about one click. Times are epoch milliseconds; None is unknown; `parameters` is JSON."""

    party_id: str
    session_id: str
    event_id: str
    client_time: int
    is_new_party: bool
    is_first_in_session: bool
    corrupt: bool
    page_view_id: str | None = None
    event_type: str | None = None
    location: str | None = None
    referer: str | None = None
    viewport: str | None = None
    screen: str | None = None
    pixel_ratio: str | None = None
    parameters: bytes | None = None
    price: str | None = None
    amount: str | None = None


class _Event(msgspec.Struct):
    """The body of `POST /event`."""

    session_id: str
    event_id: str
    is_new_party: bool
    is_new_session: bool
    client_timestamp_iso: str
    event_type: str | None = None
    parameters: Any = None


_event = msgspec.json.Decoder(_Event).decode


def read_query(query: str) -> Click:
    """The click of a query string as it is in the address.

    Raises:
        Dropped: `query_too_long`, `missing_field`, `party`, `session` or `client_time`; each says what is wrong.
    """
    if len(query) > QUERY_CHARACTERS:
        raise Dropped("query_too_long")
    fields = split_query(query)
    first = {name: values[0] for name, values in fields.items()}
    if not all(map(first.get, REQUIRED)):
        raise Dropped("missing_field")
    if (party := identifier(first["p"])) is None:
        raise Dropped("party")
    if (session := identifier(first["s"])) is None:
        raise Dropped("session")
    parameters, price, amount = _parameters(first["u"]) if "u" in first else (None, None, None)
    get = first.get
    return Click(
        party, session, _clean(first["e"]), _client_time(first["c"]), first["n"] == "t", first["f"] == "t",
        not has_right_checksum(fields), _clean(first["v"]), _clean(get("t")), _clean(get("l")), _clean(get("r")),
        _size(get("w"), get("h")), _size(get("i"), get("j")), _count(get("k")), parameters, price, amount,
    )  # fmt: skip


def read_event(party: str, body: bytes) -> Click:
    """The click of a JSON body; it has no location and can't be corrupt.

    Raises:
        Unreadable: says in words what is wrong with the party or the body.
    """
    party_id = identifier(party)
    if party_id is None:
        raise Unreadable("The parameter p must be a party id, such as 0:i1t84hgy:random")
    try:
        event = _event(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"Not an event: {error}") from error
    session = identifier(event.session_id)
    if session is None:
        raise Unreadable("session_id must be a session id, such as 0:i1t84hgy:random")
    if not event.event_id:
        raise Unreadable("event_id is empty")
    if _is_deep(event.parameters):
        raise Unreadable(f"parameters are nested more than {MAX_DEPTH} deep")
    parameters, price, amount = _described(event.parameters) if event.parameters is not None else (None, None, None)
    return Click(
        party_id, session, _clean(event.event_id), _iso_time(event.client_timestamp_iso), event.is_new_party,
        event.is_new_session, False, event_type=_clean(event.event_type), parameters=parameters, price=price, amount=amount,
    )  # fmt: skip


def split_query(query: str) -> dict[str, list[str]]:
    """Name -> values, decoded once, in the order of the query. Percent-encoded bytes that are no UTF-8 become U+FFFD."""
    fields: dict[str, list[str]] = {}
    if "+" in query:
        query = query.replace("+", " ")
    if not query.isascii():  # `unquote_to_bytes` refuses lone surrogates, a server's sign for bytes that are no UTF-8
        query = query.encode("utf-8", "replace").decode()
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if "%" in value:  # a third of the time of `unquote`
            value = unquote_to_bytes(value).decode("utf-8", "replace")
        if "%" in name:
            name = unquote_to_bytes(name).decode("utf-8", "replace")
        if name in fields:
            fields[name].append(value)
        elif name or equals:
            fields[name] = [value]
    return fields


def checksum(fields: dict[str, list[str]]) -> int:
    """The signed murmur3 of the fields' canonical text, without the field `x`."""
    names = sorted(fields)
    if not "".join(names).isascii():  # JavaScript and Java compare UTF-16
        names.sort(key=lambda name: name.encode("utf-16-be"))
    text = "".join([f"{name}={','.join(fields[name])},;" for name in names if name != "x"])
    return mmh3.hash(text.encode(), 0)


def has_right_checksum(fields: dict[str, list[str]]) -> bool:
    """Whether the field `x` is there and is the checksum of the others."""
    try:
        return "x" in fields and base36(fields["x"][0]) == checksum(fields)
    except Unreadable:
        return False


def identifier(text: str) -> str | None:
    """A party's or session's id with its number in the usual spelling, as Divolte has it; None if it is none."""
    parts = text.split(":")
    if len(parts) != 3 or parts[0] != "0" or len(text) > ID_CHARACTERS or not _RANDOM.fullmatch(parts[2]):
        return None
    try:
        moment = base36(parts[1])
    except Unreadable:
        return None
    return text if _USUAL.fullmatch(parts[1]) else f"0:{_base36_text(moment)}:{parts[2]}"


def _base36_text(number: int) -> str:
    digits, rest = "", abs(number)
    while rest or not digits:
        rest, digit = divmod(rest, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return f"-{digits}" if number < 0 else digits


def _client_time(text: str) -> int:
    try:
        moment = base36(text)
    except Unreadable as error:
        raise Dropped("client_time") from error
    if not 0 <= moment <= LAST_MILLISECOND:
        raise Dropped("client_time")
    return moment


def _iso_time(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Unreadable("client_timestamp_iso is no time of ISO 8601") from error
    if moment.tzinfo is None:
        raise Unreadable("client_timestamp_iso has no offset from UTC")
    milliseconds = int((moment - _EPOCH).total_seconds() * 1000)
    if not 0 <= milliseconds <= LAST_MILLISECOND:
        raise Unreadable("client_timestamp_iso is not within the years 1970 to 9999")
    return milliseconds


def _clean(text: str | None) -> Any:
    """The text without NUL, which PostgreSQL can't store; None if it is empty."""
    return text.replace("\0", "\ufffd") if text and "\0" in text else text or None


def _count(text: str | None) -> str | None:
    """A number of pixels in decimal digits. Divolte's tag sends a ratio of 1.5 as `1.i`, which is unknown."""
    try:
        value = base36(text or "")
    except Unreadable:
        return None
    return str(value) if 0 <= value < 2**31 else None


def _size(width: str | None, height: str | None) -> str | None:
    across, down = _count(width), _count(height)
    return f"{across}x{down}" if across and down else None


def _parameters(mincode: str) -> tuple[bytes | None, str | None, str | None]:
    try:
        return _described(decode(mincode))
    except Unreadable:
        return None, None, None


def _described(parameters: Any) -> tuple[bytes, str | None, str | None]:
    """The parameters as JSON, and the fields `price` and `amount`."""
    named = parameters if isinstance(parameters, dict) else {}
    return _encode(parameters), _as_text(named.get("price")), _as_text(named.get("amount"))


def _as_text(value: Any) -> str | None:
    """A string itself, a number as its JSON text; anything else is no price and no amount."""
    if isinstance(value, str):
        text: str | None = _clean(value)
        return text
    return _encode(value).decode() if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_deep(value: Any) -> bool:
    """Whether objects and arrays are nested more than MAX_DEPTH deep."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for values in inner for one in values if isinstance(one, dict | list)]
    return bool(level)
