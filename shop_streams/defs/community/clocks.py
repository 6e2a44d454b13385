"""What clocks of a time zone show. By Python's time zones, with which the list of cities is checked: Spark asks Java, which may
be older and lack some, such as America/Coyhaique (2025), and then the whole job fails.

Keep the import light: Spark's workers import this file.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F

from shop_streams.rules import EPOCH

SECOND = 1_000_000  # microseconds


def local_time(moment: Column, timezone: Column) -> Column:
    """A timestamp whose UTC text is what clocks in the time zone show at `moment`; null if one of both is."""

    @F.arrow_udf("bigint")  # type: ignore[call-overload]  # only two columns pass through Python
    def local(moments: pa.Array, zones: pa.Array) -> pa.Array:
        return local_micros(moments, zones)

    found: Column = F.timestamp_micros(local(F.unix_micros(moment), timezone))
    return found


def local_micros(moments: pa.Array, zones: pa.Array) -> pa.Array:
    """Microseconds since 1970 in UTC -> those of the same clock time in UTC. `zones`: names of time zones."""
    pairs = zip(moments.to_pylist(), zones.to_pylist(), strict=True)
    return pa.array(
        [None if at is None or zone is None else at + _offset(zone, at // SECOND) for at, zone in pairs], pa.int64()
    )


@lru_cache(maxsize=100_000)
def _offset(zone: str, second: int) -> int:
    """Microseconds that clocks of the zone are ahead of UTC."""
    ahead = (EPOCH + timedelta(seconds=second)).astimezone(ZoneInfo(zone)).utcoffset()
    assert ahead is not None
    return ahead // timedelta(microseconds=1)
