"""The encoding of a record's value: between bytes, plain objects, and text that a person can read and change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True)
class Encoding:
    """An encoding of records: its name, `parse`: bytes -> plain objects, and `write`: plain objects -> bytes.

    `parse` and `write` raise ValueError or a msgspec error for what they can't read or write. `is_text`: the bytes are text
    that a person can read and change as it is.
    """

    name: str
    parse: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    is_text: bool = False

    def to_text(self, value: bytes) -> bytes:
        """The value as text for a person or a shell command: its bytes, or JSON for a binary encoding.

        Raises:
            ValueError: the value can't be read, or JSON can't hold it without a loss.
        """
        if self.is_text:
            return value
        record = self.parse(value)
        text = msgspec.json.encode(record)
        try:
            same = self.parse(self.of_text(text)) == record
        except ValueError:
            same = False
        if not same:  # bytes and NaN, for example
            raise ValueError("JSON can't hold it")
        return text

    def of_text(self, text: bytes) -> bytes:
        """The value of a text, as `to_text` writes it.

        Raises:
            ValueError: the text is no JSON, or not a record of this encoding.
        """
        if self.is_text:
            return text
        try:
            return self.write(msgspec.json.decode(text))
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from error

    def readable(self, value: bytes | None) -> bytes | None:
        """`to_text`, or the value itself if it can't be read."""
        try:
            return None if value is None else self.to_text(value)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            return value


JSON = Encoding("JSON", msgspec.json.decode, msgspec.json.encode, is_text=True)
