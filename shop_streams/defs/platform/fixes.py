"""The named fixes of dead letters. They are Python functions, because a web page must not start a shell.

A fix changes what its name says and nothing else. A value that needs no change stays the same, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum, auto
from typing import Any

from shop_streams.streaming.drafts import FixFailed

SALES_TEXTS = ("category", "item_id", "uid")
TEXTS = (*SALES_TEXTS, "app_name", "event_category", "event_action", "event_label")
PROMOTION_TIMES = ("adv_campaign_datetime_start", "adv_campaign_datetime_end", "datetime_created")
NUMBERS = ("item_price", "timestamp", "user_id", *PROMOTION_TIMES)
# As seconds these are the years 1973 to 5138. Milliseconds of the years 1970 to 1973 look the same.
SECONDS = range(100_000_000, 100_000_000_000)
LAST_SECOND = 253_402_300_799  # the end of the year 9999, as in the rules of promotions

Event = dict[str, Any]


class Fix(StrEnum):
    """The names of the fixes, in the launchpad and on the command line. Dagster's configuration uses the member's name."""

    as_is = auto()
    trim = auto()
    texts_to_numbers = auto()
    numbers_to_texts = auto()
    seconds_to_milliseconds = auto()
    milliseconds_to_seconds = auto()
    unwrap_array = auto()


def as_is(raw: bytes) -> bytes:
    """change nothing: for records that new rules accept"""
    return raw


def trim(raw: bytes) -> bytes:
    """remove white space at both ends of every text; at the ends of the value also NULs and a byte order mark"""
    value = raw.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\0")
    return _each_field(value, lambda _name, field: field.strip() if isinstance(field, str) else field)


def texts_to_numbers(raw: bytes) -> bytes:
    """turn whole numbers that came as a text or with .0 into numbers: prices, times, user_id"""

    def number(name: str, field: Any) -> Any:
        if name not in NUMBERS or not isinstance(field, str | float):
            return field
        if isinstance(field, float):
            return int(field) if field.is_integer() else field
        text = field.strip()
        return int(text) if text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 20 else field

    return _each_field(raw, number)


def numbers_to_texts(raw: bytes) -> bytes:
    """turn whole numbers into texts where the rules need a text: category, item_id, uid, names and labels"""
    return _each_field(raw, lambda name, field: str(field) if name in TEXTS and type(field) is int else field)


def seconds_to_milliseconds(raw: bytes) -> bytes:
    """sales: the field timestamp from seconds to milliseconds"""

    def milliseconds(name: str, field: Any) -> Any:
        in_seconds = name == "timestamp" and type(field) is int and field in SECONDS
        return field * 1000 if in_seconds else field

    return _each_field(raw, milliseconds)


def milliseconds_to_seconds(raw: bytes) -> bytes:
    """promotions: the three times from milliseconds to seconds"""

    def seconds(name: str, field: Any) -> Any:
        too_late = name in PROMOTION_TIMES and type(field) is int and field > LAST_SECOND
        return field // 1000 if too_late else field

    return _each_field(raw, seconds)


def unwrap_array(raw: bytes) -> bytes:
    """replace an array of one object by that object"""
    value = _parsed(raw)
    if not isinstance(value, list):
        return raw
    if len(value) != 1 or not isinstance(value[0], dict):
        raise FixFailed(f"an array of {len(value)}, not of one object; a letter can't become several records")
    return _written(value[0])


FIXES: dict[Fix, Callable[[bytes], bytes]] = {
    Fix[fix.__name__]: fix
    for fix in (
        as_is,
        trim,
        texts_to_numbers,
        numbers_to_texts,
        seconds_to_milliseconds,
        milliseconds_to_seconds,
        unwrap_array,
    )
}
DESCRIPTIONS = "; ".join(f"{name.value}: {fix.__doc__}" for name, fix in FIXES.items())


def _each_field(raw: bytes, change: Callable[[str, Any], Any]) -> bytes:
    """The JSON object with `change(name, field)` for each field; the same bytes when nothing changes."""
    event = _parsed(raw)
    if not isinstance(event, dict):
        raise FixFailed("not a JSON object")
    changed = {name: change(name, field) for name, field in event.items()}
    same = all(changed[name] is event[name] or _written(changed[name]) == _written(event[name]) for name in event)
    return raw if same else _written(changed)


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode(), object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise FixFailed(f"not JSON: {error}") from error


def _once_each(pairs: list[tuple[str, Any]]) -> Event:
    """A JSON object. A name that is there twice is an error, because only one of the two fields could be written again."""
    event = dict(pairs)
    if len(event) < len(pairs):
        raise FixFailed("a field is there twice")
    return event


def _written(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:  # half a surrogate, or no number
        raise FixFailed(f"can't be written as JSON: {error}") from error
