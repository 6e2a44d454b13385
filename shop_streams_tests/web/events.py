"""An event of the tag, read from its query string without the project's own code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import mmh3

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(number: int) -> str:
    """A whole number in base 36, as the checksum is written."""
    digits = ""
    rest = abs(number)
    while rest or not digits:
        rest, digit = divmod(rest, 36)
        digits = DIGITS[digit] + digits
    return "-" * (number < 0) + digits


def checksum(fields: dict[str, str]) -> str:
    """The checksum that these fields must have."""
    canonical = "".join(f"{name}={fields[name]},;" for name in sorted(fields) if name != "x")
    return base36(mmh3.hash(canonical.encode(), 0, signed=True))


def unmincode(text: str) -> Any:
    """The value of a mincode text; every character must belong to it."""
    value, end = _record(text, 0, in_object=False)[1:]
    assert end == len(text), f"characters behind the end: {text[end:]!r}"
    return value


def _text(text: str, at: int) -> tuple[str, int]:
    found = ""
    while text[at] != "!":
        at += text[at] == "~"
        found += text[at]
        at += 1
    return found, at + 1


def _record(text: str, at: int, in_object: bool) -> tuple[str, Any, int]:
    """(name, value, position behind) of the record at `at`."""
    kind, at = text[at], at + 1
    name, at = _text(text, at) if in_object else ("", at)
    if kind in "tfn":
        return name, {"t": True, "f": False, "n": None}[kind], at
    if kind in "sdj":
        payload, at = _text(text, at)
        return name, payload if kind == "s" else int(payload, 36) if kind == "d" else json.loads(payload), at
    assert kind in "(a", f"unknown record {kind!r}"
    if kind == "a":
        items = []
        while text[at] != ".":
            _, one, at = _record(text, at, in_object=False)
            items.append(one)
        return name, items, at + 1
    fields = {}
    while text[at] != ")":
        key, one, at = _record(text, at, in_object=True)
        fields[key] = one
    return name, fields, at + 1


@dataclass(frozen=True)
class Event:
    """A received event. `at` is in milliseconds."""

    fields: dict[str, str]

    @classmethod
    def read(cls, query: str) -> Event:
        """The event of a query string whose names come once each, and whose checksum is right."""
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
        fields = dict(pairs)
        assert len(fields) == len(pairs), f"a name comes twice: {query}"
        assert fields.keys() >= set("psvecnfltijkwhx"), f"a field is missing: {query}"
        assert fields["x"] == checksum(fields), f"the checksum is wrong: {query}"
        return cls(fields)

    @property
    def kind(self) -> str:
        return self.fields["t"]

    @property
    def party(self) -> str:
        return self.fields["p"]

    @property
    def session(self) -> str:
        return self.fields["s"]

    @property
    def view(self) -> str:
        return self.fields["v"]

    @property
    def id(self) -> str:
        return self.fields["e"]

    @property
    def at(self) -> int:
        return int(self.fields["c"], 36)

    @property
    def begins(self) -> tuple[bool, bool]:
        """Whether it is the first event of its party, and of its session."""
        return self.fields["n"] == "t", self.fields["f"] == "t"

    @property
    def location(self) -> str:
        return self.fields["l"]

    @property
    def parameters(self) -> Any:
        return unmincode(self.fields["u"]) if "u" in self.fields else None
