"""What DDS and the marts must have, computed by DuckDB from the specification alone. It shares no code with the domain."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from shop_streams_tests.defs.community.oracle_rows import Raw, Refused, Valid, raw_rows, verdicts

__all__ = ["Raw", "Refused", "Valid", "dds", "friends", "raw_rows", "read_cities", "users", "verdicts", "zones"]

Row = dict[str, Any]
CITIES = pa.schema({"id": pa.int64(), "city": pa.string(), "lat": pa.float64(), "lng": pa.float64(), "timezone": pa.string()})  # fmt: skip
VALID = pa.schema({
    "number": pa.int64(), "event_type": pa.string(), "user_id": pa.int64(), "event_time": pa.timestamp("us"),
    "lat": pa.float64(), "lon": pa.float64(), "message_id": pa.int64(), "message_to": pa.int64(), "channel": pa.int64(),
})  # fmt: skip
DDS = pa.schema([*VALID, pa.field("zone_id", pa.int64()), pa.field("position_source", pa.string()),
                 pa.field("position_date", pa.date32()), pa.field("event_date", pa.date32())])  # fmt: skip
HAVERSINE = """
    CREATE MACRO km(lat1, lon1, lat2, lon2) AS 2 * 6371 * asin(sqrt(least(1,
        sin(radians(lat2 - lat1) / 2) ** 2 + cos(radians(lat1)) * cos(radians(lat2)) * sin(radians(lon2 - lon1) / 2) ** 2)))
"""
# Events once each, their own zone, the last located message up to them, and the first one of their user.
DDS_SQL = """
    WITH own AS (
        SELECT * REPLACE (CASE WHEN ok THEN lat END AS lat, CASE WHEN ok THEN lon END AS lon) FROM (
            SELECT *, coalesce(lat BETWEEN -90 AND 90 AND lon BETWEEN -180 AND 180, false) AS ok FROM valid)
    ), distances AS (
        SELECT p.lat, p.lon, c.id, km(p.lat, p.lon, c.lat, c.lng) AS distance
        FROM (SELECT DISTINCT lat, lon FROM own WHERE ok) p, cities c
    ), nearest AS (
        SELECT d.lat, d.lon, min(d.id) AS zone_id
        FROM distances d JOIN (SELECT lat, lon, min(distance) AS least FROM distances GROUP BY ALL) m USING (lat, lon)
        WHERE d.distance <= m.least + 0.001 GROUP BY ALL
    ), zoned AS (
        SELECT own.*, zone_id FROM own LEFT JOIN nearest USING (lat, lon)
    ), located AS (
        SELECT user_id, event_time, message_id, lat, lon, zone_id FROM zoned WHERE ok AND event_type = 'message'
    ), last_at AS (
        SELECT * FROM located QUALIFY row_number() OVER (PARTITION BY user_id, event_time
            ORDER BY message_id DESC NULLS LAST, lat DESC, lon DESC) = 1
    ), first_of AS (
        SELECT * FROM located QUALIFY row_number() OVER (PARTITION BY user_id
            ORDER BY event_time, message_id NULLS FIRST, lat, lon) = 1
    ), joined AS (
        SELECT z.*, l.event_time AS l_time, l.lat AS l_lat, l.lon AS l_lon, l.zone_id AS l_zone,
            f.event_time AS f_time, f.lat AS f_lat, f.lon AS f_lon, f.zone_id AS f_zone,
            CASE WHEN ok THEN 'own' WHEN l.event_time IS NOT NULL THEN 'earlier_message'
                WHEN f.event_time::DATE <= z.event_time::DATE THEN 'later_message' END AS position_source
        FROM zoned z
        ASOF LEFT JOIN last_at l ON z.user_id = l.user_id AND z.event_time >= l.event_time
        LEFT JOIN first_of f ON z.user_id = f.user_id
    )
    SELECT number, event_type, user_id, event_time,
        CASE position_source WHEN 'own' THEN lat WHEN 'earlier_message' THEN l_lat WHEN 'later_message' THEN f_lat END AS lat,
        CASE position_source WHEN 'own' THEN lon WHEN 'earlier_message' THEN l_lon WHEN 'later_message' THEN f_lon END AS lon,
        message_id, message_to, channel,
        CASE position_source WHEN 'own' THEN zone_id WHEN 'earlier_message' THEN l_zone WHEN 'later_message' THEN f_zone END AS zone_id,
        position_source,
        CASE position_source WHEN 'earlier_message' THEN l_time::DATE WHEN 'later_message' THEN f_time::DATE END AS position_date,
        event_time::DATE AS event_date
    FROM joined ORDER BY number
"""
# Events up to the calculation date, each with the user's first located message if it has no position. `rank` is their order:
# by the coordinates that they were delivered with, for those that they take from a message depend on other events.
HISTORY = """
    CREATE TEMP TABLE history AS
    WITH known AS (SELECT * FROM events WHERE event_date <= $date),
    first_of AS (
        SELECT user_id, event_time, lat, lon, zone_id FROM known WHERE event_type = 'message' AND position_source = 'own'
        QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY event_time, message_id NULLS FIRST, lat, lon) = 1
    )
    SELECT k.* REPLACE (coalesce(k.lat, f.lat) AS lat, coalesce(k.lon, f.lon) AS lon, coalesce(k.zone_id, f.zone_id) AS zone_id),
        row_number() OVER (PARTITION BY user_id ORDER BY k.event_time, k.event_type, k.message_id NULLS FIRST,
            CASE WHEN k.position_source = 'own' THEN k.lat END NULLS FIRST,
            CASE WHEN k.position_source = 'own' THEN k.lon END NULLS FIRST) AS rank
    FROM known k LEFT JOIN first_of f USING (user_id)
"""
WINDOW = "CREATE TEMP TABLE counted AS SELECT * FROM history WHERE event_date >= $first"
LAST_MESSAGE = """
    SELECT user_id, lat, lon, zone_id FROM counted WHERE event_type = 'message'
    QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY rank DESC) = 1
"""
USERS_SQL = f"""
    WITH last_message AS ({LAST_MESSAGE}),
    moves AS (
        SELECT user_id, rank, event_time, zone_id FROM counted WHERE zone_id IS NOT NULL
        QUALIFY zone_id IS DISTINCT FROM lag(zone_id) OVER (PARTITION BY user_id ORDER BY rank)
    ), stays AS (
        SELECT *, coalesce(lead(event_time) OVER (PARTITION BY user_id ORDER BY rank), $date::DATE + INTERVAL 1 DAY) AS until
        FROM moves
    ), travels AS (
        SELECT user_id, list(city ORDER BY rank) AS cities FROM stays JOIN cities ON id = zone_id GROUP BY user_id
    ), homes AS (
        SELECT user_id, zone_id FROM stays WHERE epoch_us(until) - epoch_us(event_time) > 27 * 86400000000
        QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY rank DESC) = 1
    ), everybody AS (SELECT user_id, max(event_time) AS last_time FROM counted GROUP BY user_id)
    SELECT e.user_id, act.city AS act_city, len(coalesce(t.cities, [])) AS travel_count, coalesce(t.cities, []) AS travel_array,
        home.city AS home_city, e.last_time, act.timezone
    FROM everybody e LEFT JOIN last_message m USING (user_id) LEFT JOIN cities act ON act.id = m.zone_id
    LEFT JOIN travels t USING (user_id) LEFT JOIN homes h USING (user_id) LEFT JOIN cities home ON home.id = h.zone_id
    ORDER BY 1
"""
ZONES_SQL = """
    WITH firsts AS (
        SELECT * FROM history WHERE event_type IN ('registration', 'message')
        QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY event_type <> 'registration', rank) = 1
    ), things AS (
        SELECT event_date, zone_id, event_type AS what FROM history WHERE event_type <> 'registration'
        UNION ALL SELECT event_date, zone_id, 'user' FROM firsts
    ), dated AS (
        SELECT zone_id, what, date_trunc('month', event_date)::DATE AS month, date_trunc('week', event_date)::DATE AS week FROM things
    ), weekly AS (PIVOT (SELECT zone_id, week, what FROM dated) ON what IN ('message', 'reaction', 'subscription', 'user')
        USING count(*) GROUP BY zone_id, week
    ), monthly AS (PIVOT (SELECT zone_id, month, what FROM dated) ON what IN ('message', 'reaction', 'subscription', 'user')
        USING count(*) GROUP BY zone_id, month
    ), periods AS (
        SELECT DISTINCT date_trunc('month', day)::DATE AS month, date_trunc('week', day)::DATE AS week
        FROM generate_series($first::TIMESTAMP, $date::TIMESTAMP, INTERVAL 1 DAY) days(day)
    )
    SELECT p.month, p.week, c.id AS zone_id,
        coalesce(w.message, 0) AS week_message, coalesce(w.reaction, 0) AS week_reaction,
        coalesce(w.subscription, 0) AS week_subscription, coalesce(w.user, 0) AS week_user,
        coalesce(m.message, 0) AS month_message, coalesce(m.reaction, 0) AS month_reaction,
        coalesce(m.subscription, 0) AS month_subscription, coalesce(m.user, 0) AS month_user
    FROM periods p CROSS JOIN cities c LEFT JOIN weekly w ON w.zone_id = c.id AND w.week = p.week
    LEFT JOIN monthly m ON m.zone_id = c.id AND m.month = p.month ORDER BY 1, 2, 3
"""
# A kilometre is less than a hundredth of a degree of latitude, everywhere.
FRIENDS_SQL = f"""
    WITH places AS (SELECT *, floor(lat * 100)::BIGINT AS band FROM ({LAST_MESSAGE}) WHERE zone_id IS NOT NULL),
    others AS (SELECT *, unnest([band - 1, band, band + 1]) AS near_band FROM places),
    near AS (
        SELECT a.user_id AS user_left, b.user_id AS user_right, a.zone_id
        FROM places a JOIN others b ON a.band = b.near_band AND a.user_id < b.user_id
        WHERE km(a.lat, a.lon, b.lat, b.lon) <= 1
    ), subscribed AS (SELECT DISTINCT user_id, channel FROM history WHERE event_type = 'subscription' AND channel IS NOT NULL),
    wrote AS (SELECT DISTINCT least(user_id, message_to) AS user_left, greatest(user_id, message_to) AS user_right
        FROM history WHERE event_type = 'message' AND message_to IS NOT NULL)
    SELECT DISTINCT n.user_left, n.user_right, n.zone_id FROM near n
    JOIN subscribed a ON a.user_id = n.user_left JOIN subscribed b ON b.user_id = n.user_right AND b.channel = a.channel
    ANTI JOIN wrote w ON w.user_left = n.user_left AND w.user_right = n.user_right
    ORDER BY 1, 2
"""


def read_cities(content: bytes) -> list[Row]:
    """id, city, lat, lng, timezone of each line of a right geo.csv."""
    rows = csv.DictReader(content.decode("utf-8-sig").splitlines(), delimiter=";")
    return [row | {"id": int(row["id"])} | {name: float(row[name].replace(",", ".")) for name in ("lat", "lng")} for row in rows]  # fmt: skip


def dds(rows: Iterable[Valid], cities: list[Row]) -> list[Row]:
    """Each event once, with DDS's columns; times are naive UTC, and `number` stands for the event id."""
    distinct = list({row.values: row for row in rows}.values())
    columns = {name: [getattr(row, name) for row in distinct] for name in VALID.names if name not in ("number", "event_time")}  # fmt: skip
    columns |= {
        "number": list(range(len(distinct))),
        "event_time": [row.time.astimezone(UTC).replace(tzinfo=None) for row in distinct],
    }
    with _connection(cities) as db:
        db.register("valid", pa.table(columns, schema=VALID))
        return _rows(db.execute(DDS_SQL))


def users(events: list[Row], cities: list[Row], day: date, depth: int | None) -> list[Row]:
    """users_mart of the calculation date, by user_id; depth None or 0: all dates. `local_time` is naive."""
    rows = _mart(USERS_SQL, events, cities, day, depth)
    for row in rows:
        zone, last = row.pop("timezone"), row.pop("last_time")
        row["local_time"] = local(last, zone) if zone else None
    return rows


def zones(events: list[Row], cities: list[Row], day: date, depth: int | None) -> list[Row]:
    """zones_mart, by month, week and zone_id. With all dates, the window begins at the first event's date."""
    return _mart(ZONES_SQL, events, cities, day, depth)


def friends(events: list[Row], cities: list[Row], day: date, depth: int | None) -> list[Row]:
    """user_left, user_right and zone_id of friend_recommendations, by both users."""
    return _mart(FRIENDS_SQL, events, cities, day, depth)


def _mart(sql: str, events: list[Row], cities: list[Row], day: date, depth: int | None) -> list[Row]:
    known = [event["event_date"] for event in events if event["event_date"] <= day]
    first = day - timedelta(days=depth - 1) if depth else min(known, default=day)
    with _connection(cities) as db:
        db.register("events", pa.Table.from_pylist(events, schema=DDS))
        db.execute(HISTORY, {"date": day})
        db.execute(WINDOW, {"first": first})
        given = {name: value for name, value in (("date", day), ("first", first)) if f"${name}" in sql}
        return _rows(db.execute(sql, given))


def _connection(cities: list[Row]) -> duckdb.DuckDBPyConnection:
    db = duckdb.connect(config={"threads": 2})
    db.execute(HAVERSINE)
    db.register("cities", pa.Table.from_pylist(cities, schema=CITIES))
    return db


def _rows(result: duckdb.DuckDBPyConnection) -> list[Row]:
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def local(moment: datetime, timezone: str) -> datetime:
    """A time of UTC as clocks of the zone show it; both naive."""
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
