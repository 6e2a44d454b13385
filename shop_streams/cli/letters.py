"""A dead letter for people and programs: its value as text, where its topic's encoding can read it."""

from __future__ import annotations

import base64
from typing import Any

from shop_streams.defs.domains import ENCODINGS
from shop_streams.encoding import JSON
from shop_streams.streaming.drafts import Letter


def readable(letter: Letter) -> bytes | None:
    """The letter's value as text (Avro as JSON), or its bytes if they can't be read."""
    return ENCODINGS.get(letter["topic"], JSON).readable(letter["raw"])


def as_text(letter: Letter) -> dict[str, Any]:
    """The letter with texts for bytes. A value that is no UTF-8 is also there without a loss, as `raw_base64`."""

    def text(value: bytes | None) -> str | None:
        return None if value is None else value.decode(errors="replace")

    raw = readable(letter) or b""
    row = letter | {"raw": text(raw), "key": text(letter["key"])}
    if letter["headers"] is not None:
        row["headers"] = [{"key": one["key"], "value": text(one["value"])} for one in letter["headers"]]
    try:
        raw.decode()
    except UnicodeDecodeError:
        row["raw_base64"] = base64.b64encode(raw).decode()
    return row
