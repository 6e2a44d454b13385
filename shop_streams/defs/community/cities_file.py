"""The file of cities, read again only when it has changed: sensors ask for it at each tick, and it may have 100,000 lines."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

from shop_streams.defs.community.cities import Cities, load_cities

RESTS_AFTER_NS = 2_000_000_000  # file systems note times in steps of up to 2 s: a second write in a step may not show


def current_cities(path: str | Path) -> Cities:
    """`load_cities` of the file as it is now. What was read is kept in this process for as long as the file stays the same.

    Raises:
        CitiesBroken: as `load_cities`. A broken file is read at each call.
    """
    try:
        found = Path(path).stat()
    except OSError:
        return load_cities(path)  # the error with its words
    if time.time_ns() - found.st_ctime_ns < RESTS_AFTER_NS:
        return load_cities(path)
    # The time of the last change is the file system's own. A copy may carry the modification time of another file.
    return _read(str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@lru_cache(maxsize=1)
def _read(path: str, *_identity: int) -> Cities:
    return load_cities(path)
