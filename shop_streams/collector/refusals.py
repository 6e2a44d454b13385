"""An answer other than 200, and the log of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

MAX_DETAIL = 600  # characters
LOGGED_EACH_SECOND = 5
_log = logging.getLogger("shop_streams.collector")


class Refused(Exception):
    """An answer other than 200. With `drain`, the body is read first, so that the client reads the answer."""

    def __init__(self, status: int, detail: str, *, drain: bool = False, **more: Any) -> None:
        detail = detail if len(detail) <= MAX_DETAIL else f"{detail[: MAX_DETAIL - 2]} …"
        super().__init__(detail)
        self.status = status
        self.drain = drain
        self.body = {"detail": detail, **more}


def unavailable(problem: str, *, drain: bool = False) -> Refused:
    """503: the client must send it again."""
    return Refused(503, f"{problem}. The event may be lost: send it again, with the same event_id.", drain=drain)


def one_line(text: str, longest: int = 200) -> str:
    """The first `longest` characters of `text`, with control characters escaped."""
    return text[:longest].encode("unicode_escape").decode("ascii")


class RefusalLog:
    """Log lines of refusals, a few each second; the next second's first line says how many were left out."""

    def __init__(
        self, token: str, clock: Callable[[], float] = time.monotonic, write: Callable[[str], None] = _log.warning
    ) -> None:
        self._token = token
        self._clock = clock
        self._write = write
        self._second = -1
        self._lines = 0
        self._left_out = 0

    def add(self, peer: str, method: str, path: str, refused: Refused) -> None:
        """Log one refusal."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= LOGGED_EACH_SECOND:
            self._left_out += 1
            return
        self._lines += 1
        left_out = f" ({self._left_out} refusals before this one were not logged)" if self._left_out else ""
        self._left_out = 0
        words = f"{refused.status} {peer} {method} {path}: {refused}".replace(self._token, "[token]")
        self._write(one_line(words, 400) + left_out)
