"""Values of delivered rows: what counts as an id, a text, a coordinate, a time.

| belongs | accepted |
| --- | --- |
| id (64 bits, with a sign) | an integer; its digits as text; a float or decimal without a fraction, floats up to 2**53, as pandas writes nullable ids |
| text | text; bytes in UTF-8; a number: its digits, of 5.0 `5` |
| coordinate | a number |

NaN is null everywhere. Booleans are no numbers. Times are no text. Anything else is wrong.
Import nothing heavy here: Spark's workers import this file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from shop_streams.rules import microseconds

LARGEST_ID = 2**63 - 1
EXACT = 2**53  # beyond it, two integers may be the same double
MAX_BITS = 3000  # of an integer where text belongs: about 900 digits

_ID = re.compile(r"-?[0-9]{1,30}", re.ASCII)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
)


class Wrong(Exception):
    """A value of a wrong type; the text says what belongs there."""


def id_of(value: Any) -> int | None:
    """The id in a value, see above.

    Raises:
        Wrong: there is none.
    """
    if isinstance(value, bytes | str):
        text = text_of(value)
        if text is None or _ID.fullmatch(text) is None:
            raise Wrong("is wrong: text without an id in digits")
        value = int(text)
    elif isinstance(value, float) and math.isnan(value):
        return None
    elif isinstance(value, float | Decimal):
        if not math.isfinite(value) or value != int(value) or (isinstance(value, float) and abs(value) > EXACT):
            raise Wrong("is wrong: a number that is no id")
        value = int(value)
    elif not isinstance(value, int) or isinstance(value, bool):
        raise Wrong(f"is wrong: {called(value)} where an id belongs")
    if not -LARGEST_ID - 1 <= value <= LARGEST_ID:
        raise Wrong("is wrong: an id of more than 64 bits")
    return int(value)


def text_of(value: Any) -> str | None:
    """The text in a value, see above.

    Raises:
        Wrong: there is none.
    """
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Wrong("is wrong: half of a surrogate pair") from None
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Wrong("is wrong: invalid UTF-8") from None
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > MAX_BITS:
            raise Wrong("is wrong: a number with too many digits")
        return str(value)
    if isinstance(value, Decimal):
        digits = format(value, "f")
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if abs(value) <= EXACT:
            return str(int(value)) if value.is_integer() else repr(value)
    raise Wrong(f"is wrong: {called(value)} where text belongs")


def number_of(value: Any) -> float | None:
    """The coordinate in a value, see above.

    Raises:
        Wrong: there is none.
    """
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        raise Wrong(f"is wrong: {called(value)} where a number belongs")
    try:
        return float(value)
    except OverflowError:
        return None


def called(value: Any) -> str:
    """What a value is, in JSON's words."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, str | bytes):
        return "text"
    if isinstance(value, list | tuple):
        return "a list"
    return "a number" if isinstance(value, int | float | Decimal) else f"a {type(value).__name__}"


def time_of(text: str) -> int | None:
    """Microseconds since 1970 of a time as the module's specification writes it, or None. More digits are cut off."""
    if _TIME.fullmatch(text) is None:
        return None
    try:
        return microseconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None
