"""The work of community in DuckDB alone, as its user would write it: files to events, and three marts of each date, to Parquet.

Prints `{"seconds": …, "rows": {mart: rows of the last date}}`. Only well-formed files: no row is refused, nothing is repaired.
"""

import argparse
import json
import time
from datetime import date, timedelta
from pathlib import Path

import duckdb

from shop_streams_tests.defs.community.oracle import (
    DDS_SQL,
    HAVERSINE,
    HISTORY,
    LAST_MESSAGE,
    USERS_SQL,
    WINDOW,
    ZONES_SQL,
)

# The oracle's query measures all pairs of a band of latitude. This one joins by channel and by cells of at least a kilometre, at
# the latitudes of the simulated cities.
FRIENDS_SQL = f"""
    WITH subscribed AS (SELECT DISTINCT user_id, channel FROM history WHERE event_type = 'subscription' AND channel IS NOT NULL),
    wrote AS (SELECT DISTINCT least(user_id, message_to) AS user_left, greatest(user_id, message_to) AS user_right
        FROM history WHERE event_type = 'message' AND message_to IS NOT NULL),
    places AS (
        SELECT user_id, lat, lon, zone_id, channel, floor(lat * 100)::INT AS y, floor(lon * 60)::INT AS x
        FROM ({LAST_MESSAGE}) JOIN subscribed USING (user_id) WHERE zone_id IS NOT NULL
    ), others AS (SELECT * REPLACE (y + dy AS y, x + dx AS x) FROM places, unnest([-1, 0, 1]) r(dy), unnest([-1, 0, 1]) c(dx)),
    near AS (
        SELECT DISTINCT a.user_id AS user_left, b.user_id AS user_right, a.zone_id
        FROM places a JOIN others b USING (channel, y, x)
        WHERE a.user_id < b.user_id AND km(a.lat, a.lon, b.lat, b.lon) <= 1
    )
    SELECT n.* FROM near n ANTI JOIN wrote w USING (user_left, user_right)
"""
MARTS = {"users_mart": USERS_SQL, "zones_mart": ZONES_SQL, "friend_recommendations": FRIENDS_SQL}
COLUMNS = """
    event_type, coalesce(event.datetime, event.message_ts)::TIMESTAMPTZ::TIMESTAMP AS event_time,
    CASE event_type WHEN 'message' THEN event.message_from::BIGINT WHEN 'reaction' THEN event.reaction_from::BIGINT
        WHEN 'registration' THEN event."user"::BIGINT ELSE coalesce(event."user"::BIGINT, event.subscription_user::BIGINT) END AS user_id,
    CASE WHEN NOT isnan(lat) THEN lat END AS lat, CASE WHEN NOT isnan(lon) THEN lon END AS lon,
    event.message_id::BIGINT AS message_id, event.message_to::BIGINT AS message_to,
    CASE event_type WHEN 'message' THEN event.message_channel_to::BIGINT WHEN 'subscription' THEN event.subscription_channel::BIGINT END AS channel,
    event.message AS message, event.reaction_type AS reaction_type, event.message_group::BIGINT AS message_group
"""
JSON_EVENT = """{event_type: 'VARCHAR', lat: 'DOUBLE', lon: 'DOUBLE', event: 'STRUCT(datetime VARCHAR, message_ts VARCHAR, message_from VARCHAR,
    reaction_from VARCHAR, "user" VARCHAR, subscription_user VARCHAR, message_id VARCHAR, message_to VARCHAR, message_channel_to VARCHAR,
    subscription_channel VARCHAR, message VARCHAR, reaction_type VARCHAR, message_group VARCHAR)'}"""


def sources(raw: Path) -> list[str]:
    """A query for each way in which the simulator writes files."""
    names = {suffix: [str(path) for path in sorted(raw.rglob(f"*.{suffix}"))] for suffix in ("jsonl", "ndjson", "json", "parquet")}  # fmt: skip
    texts = [*names["jsonl"], *names["ndjson"], *names["json"]]
    other = [path for path in names["parquet"] if "/gateway/" in path]
    usual = [path for path in names["parquet"] if "/gateway/" not in path]
    found = [f"read_json({texts}, format = 'newline_delimited', columns = {JSON_EVENT})"] if texts else []
    return found + [f"read_parquet({paths}, hive_partitioning = false)" for paths in (usual, other) if paths]


def compute(raw: Path, geo: Path, out: Path, depth: int) -> dict[str, int]:
    """Write events and marts below `out`. Returns the marts' rows of the last date."""
    database = duckdb.connect(config={"threads": 2, "temp_directory": str(out / "temp")})
    database.execute("SET TimeZone = 'UTC'")
    database.execute(HAVERSINE)
    database.execute(
        f"""CREATE TABLE cities AS SELECT id, city, replace(lat::VARCHAR, ',', '.')::DOUBLE AS lat,
            replace(lng::VARCHAR, ',', '.')::DOUBLE AS lng, timezone FROM read_csv('{geo}', delim = ';', header = true)"""
    )
    rows = " UNION ALL ".join(f"SELECT {COLUMNS} FROM {one}" for one in sources(raw))
    database.execute(
        f"CREATE TABLE valid AS SELECT row_number() OVER () AS number, * FROM (SELECT DISTINCT * FROM ({rows}))"
    )
    database.execute(f"CREATE TABLE events AS {DDS_SQL}")
    database.execute(f"COPY events TO '{out}/events' (FORMAT parquet, PARTITION_BY (event_date))")
    days: list[date] = [date.fromisoformat(path.name.removeprefix("date=")) for path in sorted(raw.glob("date=*"))]
    counts: dict[str, int] = {}
    for day in days:
        database.execute(HISTORY, {"date": day})
        database.execute(WINDOW, {"first": day - timedelta(days=depth - 1)})
        for name, query in MARTS.items():
            given = {"date": day, "first": day - timedelta(days=depth - 1)}
            given = {key: value for key, value in given.items() if f"${key}" in query}
            written = database.execute(f"COPY ({query}) TO '{out}/{name}-{day}.parquet' (FORMAT parquet)", given)
            counts[name] = written.fetchall()[0][0]
        database.execute("DROP TABLE history")
        database.execute("DROP TABLE counted")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("raw", "geo", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("depth", type=int)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    started = time.monotonic()
    rows = compute(options.raw, options.geo, options.out, options.depth)
    print(json.dumps({"seconds": time.monotonic() - started, "rows": rows}))


if __name__ == "__main__":
    main()
