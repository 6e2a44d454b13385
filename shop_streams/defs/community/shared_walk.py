"""One walk through the landing folder for all who ask at about the same time: sensors ask at each tick, each for itself.

Only a look at every file shows that one has grown. With a million files that takes ten seconds, so the walks must not follow
each other without a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from shop_streams.defs.community.landing import Landing

PAUSE = 4.0  # times the duration of a walk: walks take at most a fifth of the time. With a thousand files it is 40 ms


@dataclass
class SharedWalk:
    """The versions of the landing folder's dates, at most `PAUSE` times as old as a walk takes.

    An old version is safe: a partition that is computed with it from newer files is computed once more.
    """

    clock: Callable[[], float] = time.monotonic
    _lock: Lock = field(default_factory=Lock)
    _landing: Landing | None = None
    _found: Mapping[str, int] = field(default_factory=dict)
    _valid_until: float = 0.0

    def versions(self, landing: Landing) -> Mapping[str, int]:
        """`Landing.versions`. Whoever comes during a walk waits for its result.

        Raises:
            SourceMissing: the landing folder can't be read.
        """
        with self._lock:
            began = self.clock()
            if landing != self._landing or began >= self._valid_until:
                self._found = landing.versions()
                self._landing, ended = landing, self.clock()
                self._valid_until = ended + PAUSE * (ended - began)
            return self._found
