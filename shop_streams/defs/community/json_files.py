"""Rows of a file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from shop_streams.defs.community.rows import Problems, Raw, typed

LINE_LIMIT = 1_048_576  # bytes, as for a Kafka record
BOM = b"\xef\xbb\xbf"

_decode = msgspec.json.Decoder(Raw).decode

Read = tuple[int, Raw, Problems, Any]
"""(number from 1, typed row, problems of its types, what `shown` shows of it)."""


def json_rows(file: IO[bytes]) -> Iterator[Read]:
    """The rows of the file, line by line. Blank lines are no rows; a line above `LINE_LIMIT` is refused, and not kept."""
    number = 0
    while line := file.readline(LINE_LIMIT + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > LINE_LIMIT:
            yield number, Raw(), [("body", f"a line of more than {LINE_LIMIT} bytes")], line
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE_LIMIT)
            continue
        if number == 1:
            line = line.removeprefix(BOM)
        if not line.isspace() and line:
            yield number, *_row(line), line


def _row(line: bytes) -> tuple[Raw, Problems]:
    try:
        return _decode(line), []
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return typed(parsed(line))
    except UnicodeDecodeError:
        return Raw(), [("body", "invalid UTF-8")]
    except (msgspec.MsgspecError, ValueError) as broken:
        return Raw(), [("body", f"not JSON: {broken}"[:200])]
    except RecursionError:
        return Raw(), [("body", "nested too deep")]


def parsed(line: bytes) -> Any:
    """The value of a line without a BOM.

    Raises:
        ValueError, msgspec.MsgspecError, RecursionError: it is no JSON.
    """
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError) as error:
        # Python's own writer writes NaN and Infinity, which are no JSON; a coordinate may be beyond the range of doubles.
        if b"NaN" in line or b"Infinity" in line or "out of range" in str(error):
            return json.loads(line.decode())
        raise
