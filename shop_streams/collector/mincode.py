"""Mincode: JSON values in the short form that Divolte's tag puts into an address, and its base-36 numbers.

A value is a type character and what belongs to it:

    stext!      a string           d16!     an integer in base 36      t f n    true, false, null
    (…)         an object          j10.5!   a number as in JSON        a….      an array

A field of an object has its name between the type character and the rest: `(sprice!10!dcount!2!)` is
`{"price": "10", "count": 2}`. Strings and names end with `!`; `~` stands before each `!` or `~` inside.
"""

from __future__ import annotations

import math
import re
from typing import Any

MAX_DEPTH = 32  # of objects and arrays inside one another
_DIGITS = re.compile(r"[+-]?[0-9a-zA-Z]{1,13}")  # `int` alone would take blanks, underscores and other scripts' digits
_INT64 = 2**63
_TEXT = re.compile(r"((?:[^~!]++|~.)*+)!", re.DOTALL)
_ESCAPE = re.compile(r"~(.)", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_CONSTANTS = {"t": True, "f": False, "n": None}


class Unreadable(ValueError):
    """The text is no number or value of this encoding."""


def base36(text: str) -> int:
    """The integer: an optional sign and at most 13 characters, within 64 bits, as Java's `Long.parseLong` reads it.

    Raises:
        Unreadable: anything else.
    """
    if not _DIGITS.fullmatch(text):
        raise Unreadable("not a base-36 number")
    value = int(text, 36)
    if not -_INT64 <= value < _INT64:
        raise Unreadable("more than 64 bits")
    return value


def decode(text: str) -> Any:
    """The value: a string, number, boolean, None, list or dict; the last of two fields with one name.

    Raises:
        Unreadable: `text` is not exactly one value, is nested more than MAX_DEPTH deep, or has a number out of range.
    """
    open_values: list[dict[str, Any] | list[Any]] = []
    at, end = 0, len(text)
    while at < end:
        kind = text[at]
        at += 1
        inner = open_values[-1] if open_values else None
        if kind in ").":
            if type(inner) is not (dict if kind == ")" else list):
                raise Unreadable(f"nothing to close with {kind}")
            value: Any = open_values.pop()
        else:
            name = ""
            if type(inner) is dict:
                name, at = _string(text, at)
            value, at = _value(kind, text, at)
            if type(inner) is dict:
                inner[name] = value
            elif inner is not None:
                inner.append(value)  # type: ignore[union-attr]
            if kind in "(a":
                if len(open_values) == MAX_DEPTH:
                    raise Unreadable(f"nested more than {MAX_DEPTH} deep")
                open_values.append(value)
        if not open_values:
            if at != end:
                raise Unreadable("something follows the value")
            return value
    raise Unreadable("the value ends too early")


def _value(kind: str, text: str, at: int) -> tuple[Any, int]:
    """The value of this kind without what is inside of it, and where the text goes on."""
    if kind == "(":
        return {}, at
    if kind == "a":
        return [], at
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at
    if kind not in "sdj":
        raise Unreadable("unknown type of value")
    word, at = _string(text, at)
    if kind == "s":
        return word, at
    return base36(word) if kind == "d" else _number(word), at


def _string(text: str, at: int) -> tuple[str, int]:
    found = _TEXT.match(text, at)
    if found is None:
        raise Unreadable("a string has no end")
    word = found.group(1)
    return (_ESCAPE.sub(r"\1", word) if "~" in word else word), found.end()


def _number(word: str) -> int | float:
    """A whole number as an int, as far as it has 64 bits: the tag writes 2000000 as `2e+6`."""
    if not _NUMBER.fullmatch(word):
        raise Unreadable("not a number of JSON")
    if _INTEGER.fullmatch(word):
        return int(word)
    value = float(word)
    if math.isinf(value):
        raise Unreadable("a number out of range")
    return int(value) if value.is_integer() and abs(value) < _INT64 else value
