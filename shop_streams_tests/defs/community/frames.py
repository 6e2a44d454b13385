"""Events as Spark has them, and rows as Python has them."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shop_streams.defs.community.schema import EVENTS, USER_FACTS
from shop_streams.lake.table import Table
from shop_streams_tests.defs.community.plain_marts import CITIES, Event, dds


def frame(spark: SparkSession, table: Table, rows: Iterable[dict[str, Any]]) -> DataFrame:
    """Rows of a table; what a row has not is null."""
    names = [column.name for column in table.columns]
    types = ", ".join(f"{column.name} {column.type}" for column in table.columns)
    return spark.createDataFrame([tuple(row.get(name) for name in names) for row in rows], types)


def cities(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(
        [(c.zone_id, c.city, c.timezone) for c in CITIES], "zone_id bigint, city string, timezone string"
    )


def table_events(spark: SparkSession, events: Iterable[Event], since: date, until: date) -> DataFrame:
    """Rows of EVENTS of these dates, all in the window of `until`; `events` are of all dates."""
    rows = [
        {
            "event_type": event.type,
            "user_id": event.user,
            "event_time": event.time.replace(tzinfo=UTC),
            "zone_id": event.zone,
            "lat": event.place and event.place[0],
            "lon": event.place and event.place[1],
            "position_source": event.source,
            "message_id": event.message_id,
            "message_to": event.message_to,
            "channel": event.channel,
            "event_date": event.day,
        }
        for event in dds(events)
        if since <= event.day <= until
    ]
    read = {"calculation_date": F.lit(until), "in_window": F.lit(True)}
    return frame(spark, EVENTS, rows).withColumns(read)


def table_facts(spark: SparkSession, events: Iterable[Event], before: date) -> DataFrame:
    """Merged rows of USER_FACTS of all dates before `before`, but no positions: no mart asks for them."""
    firsts: dict[tuple[str, int, int | None], datetime] = {}
    for event in events:
        kinds = {"registration": (None,), "message": (None,), "subscription": (event.channel,)}
        keys = [(event.type, event.user, other) for other in kinds.get(event.type, ())]
        if event.message_to is not None:
            keys.append(("written_to", event.user, event.message_to))
        for key in keys:
            if event.day < before and not (key[0] == "subscription" and key[2] is None):
                firsts[key] = min(firsts.get(key, event.time), event.time)
    rows = [
        {"kind": kind, "user_id": user, "other": other, "event_time": time.replace(tzinfo=UTC)}
        for (kind, user, other), time in firsts.items()
    ]
    return frame(spark, USER_FACTS, rows)


def rows_of(found: DataFrame, *order: str) -> list[dict[str, Any]]:
    return [row.asDict() for row in found.orderBy(*order).collect()]


def at(text: str) -> datetime:
    """`2026-05-01`, or with a time, UTC."""
    return datetime.fromisoformat(text)
