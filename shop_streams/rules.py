"""The rules for a record. The collector validates request bodies with them, the streams validate Kafka records.

A domain gives a msgspec Struct, validated in strict mode, and checks for what types can't express.
Import nothing heavier than msgspec here: Spark's workers and plain `spark-submit` import this file.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec

from shop_streams.encoding import JSON, Encoding
from shop_streams.plain import visible

MAX_VALUE_BYTES = 1_048_576  # Kafka's default limit is 12 bytes more
MAX_DEPTH = 100  # of braces and brackets; Python's own limit depends on the caller's stack
MAX_AHEAD = timedelta(hours=1)  # an event from the future would move the watermark, and make later events late
MAX_REASON = 500  # characters
LAST_MILLISECOND = 253_402_300_799_999  # the end of the year 9999: beyond it Spark's conversion overflows
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Uuid = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")]

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)
_BRACES_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]"))


@dataclass(frozen=True)
class Times:
    """The earliest and the latest allowed event time, in microseconds since 1970."""

    first: int
    latest: int


Check = Callable[[Any, Times], str | None]
"""(value, times) -> the problem as words that follow the field's name, or None."""


class Refused(Exception):
    """A record breaks rules. `problems` are (field, words); the field is `body` if the problem concerns the whole record."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        reason = visible("; ".join(f"{name} {words}" if name != "body" else words for name, words in problems))
        super().__init__(reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 2]} …")


def _nothing(_event: Any) -> None:
    return None


@dataclass(frozen=True)
class Rules:
    """The rules for one kind of record.

    Attributes:
        model: the fields and their types.
        checks: a check for each field that needs more than its type; null fields are not checked.
        whole: a check over several fields: (record) -> (field, words) or None.
        whole_reads: the fields that `whole` reads.
        derive: sets fields of the record that no producer sends, from others; `whole` and the table can use them.
        ids: fields with UUIDs; they are stored in lower case (RFC 9562).
    """

    model: type[msgspec.Struct]
    checks: Mapping[str, Check] = field(default_factory=dict)
    whole: Callable[[Any], tuple[str, str] | None] = _nothing
    ids: tuple[str, ...] = ()
    whole_reads: tuple[str, ...] = ()
    derive: Callable[[Any], None] = _nothing
    encoding: Encoding = JSON

    def decoder(self) -> Callable[[bytes], Any]:
        """A function from bytes to the model. Reuse it for many records."""
        if self.encoding == JSON:
            return msgspec.json.Decoder(self.model).decode
        return lambda value: msgspec.convert(self.encoding.parse(value), self.model)

    def validate(self, value: bytes | None, times: Times, decode: Callable[[bytes], Any] | None = None) -> Any:
        """Validate the bytes and return the record; pass a `decoder` as `decode` to validate many.

        Raises:
            Refused: the value breaks rules; lists all of them.
        """
        _check_body(value, self.encoding.is_text)
        assert value is not None
        try:
            record = (decode or self.decoder())(value)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Refused(self._explain(value, times, error)) from error
        problems = [
            (name, words)
            for name, check in self.checks.items()
            if (found := getattr(record, name)) is not None and (words := check(found, times))
        ]
        self.derive(record)
        if problem := self.whole(record):
            problems.append(problem)
        if problems:
            raise Refused(problems)
        for name in self.ids:
            if (found := getattr(record, name)) is not None:
                setattr(record, name, found.lower())
        return record

    def _explain(self, value: bytes, times: Times, error: Exception) -> list[tuple[str, str]]:
        """All problems of a value; the decoder itself stops at the first one."""
        try:
            raw = self.encoding.parse(value)
        except (msgspec.MsgspecError, ValueError, RecursionError) as broken:
            return [("body", f"not {self.encoding.name}: {broken}"[:200])]
        if not isinstance(raw, dict):
            return [("body", f"not a {self.encoding.name} object")]
        problems, sound = [], {}
        for one in msgspec.structs.fields(self.model):
            if raw.get(one.encode_name) is None:
                if one.required:
                    problems.append((one.name, "is missing"))
                continue
            try:
                found = msgspec.convert(raw[one.encode_name], one.type, strict=True)
            except (msgspec.ValidationError, OverflowError) as wrong:
                problems.append((one.name, _words(str(wrong), one.type)))
                continue
            sound[one.name] = found
            if one.name in self.checks and (words := self.checks[one.name](found, times)):
                problems.append((one.name, words))
        if (
            self.whole_reads
            and sound.keys() >= set(self.whole_reads)
            and (problem := self.whole(SimpleNamespace(**sound)))
        ):
            problems.append(problem)
        # With a repeated key, the decoder validates both values, and `raw` has only the second.
        return problems or [("body", str(error)[:200])]


def _words(message: str, kind: Any) -> str:
    """msgspec's message in our words, without the value."""
    if message.startswith("Invalid enum value"):
        return f"is none of {', '.join(map(str, typing.get_args(kind)))}"
    if "regex" in message:
        return "is not a UUID"
    if "length >= 1" in message:
        return "is empty"
    return f"is wrong: {message.replace('`', '')}"[:120]


def _check_body(value: bytes | None, is_text: bool) -> None:
    if not value:
        raise Refused([("body", "empty value")])
    if len(value) > MAX_VALUE_BYTES:
        raise Refused([("body", f"value larger than {MAX_VALUE_BYTES} bytes")])
    if not is_text:
        return
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise Refused([("body", "invalid UTF-8")]) from error
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _too_deep(value):
        raise Refused([("body", f"nested more than {MAX_DEPTH} deep")])


def _too_deep(value: bytes) -> bool:
    brackets = _STRINGS.sub(b"", value).translate(_BRACES_AS_BRACKETS).translate(None, _NO_BRACKETS)
    # `[` is one less than `between`, `]` one more. So `between * count - total` is the number of open brackets.
    between = ord(b"[") + 1
    depths = (between * count - total for count, total in enumerate(accumulate(brackets), 1))
    return max(depths, default=0) > MAX_DEPTH


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970. A time without a zone is UTC."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)


def times_at(first_day: date | str, now: datetime) -> Times:
    """The allowed event times at `now`: the clock of the endpoint, or the broker's time of a record."""
    day = date.fromisoformat(first_day) if isinstance(first_day, str) else first_day
    return Times(microseconds(datetime(day.year, day.month, day.day)), microseconds(now + MAX_AHEAD))


def check_time(moment: int, times: Times) -> str | None:
    """Check an event time in microseconds since 1970."""
    if moment < times.first:
        first_day = (EPOCH + timedelta(microseconds=times.first)).date()
        return f"is before {first_day}, the setting FIRST_DAY; are the units right?"
    return "is more than an hour ahead" if moment > times.latest else None
