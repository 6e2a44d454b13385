"""From STG to DDS: each event once, with the coordinates and the zone that it has or takes. DataFrame in, DataFrame out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from shop_streams.defs.community.schema import EVENTS

if TYPE_CHECKING:
    from shop_streams.defs.community.cities import Cities, Places

# Of a user's messages, the last one is the largest and the first one the smallest of these; null is smaller than any number.
MESSAGE_ORDER = ("event_time", "message_id", "lat", "lon")


def located(lat: str = "lat", lon: str = "lon") -> Column:
    """Whether there are coordinates: numbers that are in range. Never null."""
    in_range = F.col(lat).between(-90.0, 90.0) & F.col(lon).between(-180.0, 180.0)  # NaN is larger than any number
    return F.coalesce(in_range, F.lit(False))


def events_of(stg: DataFrame, positions: DataFrame, cities: Cities) -> DataFrame:
    """The events of some dates, with the columns of `EVENTS` without `source_rows`.

    `stg`: all rows of `STG_EVENTS` with these event dates.
    `positions`: located messages of other dates from which an event may take its coordinates, with the columns of
    `USER_FACTS`. If the dates follow each other, one row a user is enough: the last one before the first date
    (see positions.py).
    """
    one_column = stg.select("user_id").distinct()  # few users have events on a date, many have a position
    known = positions.join(one_column, "user_id", "left_semi")
    rows = _typed(stg).unionByName(_as_messages(known), allowMissingColumns=True)
    rows = rows.withColumn("zone_id", _zone(cities.places)("lat", "lon"))
    # One shuffle for all that follows.
    once = rows.repartition("user_id").dropDuplicates(["user_id", "event_id", "event_time"])
    return _with_taken_positions(once).where("event_id is not null").select(*_columns())


def _columns() -> list[str]:
    return [column.name for column in EVENTS.columns if column.name != "source_rows"]


def _typed(stg: DataFrame) -> DataFrame:
    kind = F.col("event_type")
    message = kind == "message"
    return stg.select(
        "event_id",
        "event_type",
        "user_id",
        "event_time",
        *[F.when(located(), F.col(name)).alias(name) for name in ("lat", "lon")],
        F.when(message | (kind == "reaction"), F.col("event.message_id")).alias("message_id"),
        F.when(message, F.col("event.message_to")).alias("message_to"),
        F.when(message, F.col("event.message_channel_to"))
        .when(kind == "subscription", F.col("event.subscription_channel"))
        .alias("channel"),
        "event_date",
    )


def _as_messages(positions: DataFrame) -> DataFrame:
    """Positions as rows without event id."""
    names = ("user_id", "event_time", "message_id", "lat", "lon")
    return positions.select(F.lit("message").alias("event_type"), *names, F.to_date("event_time").alias("event_date"))


def _zone(places: Places) -> Callable[[str, str], Column]:
    @F.arrow_udf("bigint")  # type: ignore[call-overload]  # only two columns pass through Python
    def zone(lat: pa.Array, lon: pa.Array) -> pa.Array:
        return zone_ids(places, lat, lon)

    found: Callable[[str, str], Column] = zone
    return found


def zone_ids(places: Places, lat: pa.Array, lon: pa.Array) -> pa.Array:
    """The nearest city of each position, null where there is no position."""
    there = np.asarray(lat.is_valid()) & np.asarray(lon.is_valid())
    found = np.zeros(len(lat), np.int64)
    if there.any():
        mine = pa.array(there)
        found[there] = places.nearest(lat.filter(mine).to_numpy(), lon.filter(mine).to_numpy())
    return pa.array(found, mask=~there)


def _with_taken_positions(rows: DataFrame) -> DataFrame:
    own = F.col("lat").isNotNull()
    taken = (*MESSAGE_ORDER, "zone_id", "event_date")
    message = F.when(own & (F.col("event_type") == "message"), F.struct(*taken))
    user = Window.partitionBy("user_id").orderBy("event_time")
    last = F.max(message).over(user.rangeBetween(Window.unboundedPreceding, Window.currentRow))
    # Without an earlier one, the first one of all dates is later. If it has another date, the event's own date has none.
    first = F.min(message).over(Window.partitionBy("user_id"))
    found = rows.withColumns({"last": last, "first": first})
    later = F.when(F.col("first.event_date") == F.col("event_date"), F.col("first"))
    found = found.withColumn("taken", F.when(~own, F.coalesce("last", later)))
    source = (
        F.when(own, "own")
        .when(F.col("last").isNotNull(), "earlier_message")
        .when(F.col("taken").isNotNull(), "later_message")
    )
    return found.withColumns(
        {
            **{name: F.coalesce(name, f"taken.{name}") for name in ("lat", "lon", "zone_id")},
            "position_source": source,
            "position_date": F.col("taken.event_date"),
        }
    )
