"""Shop events of the tests, DuckDB over them, and what the mart says."""

import json
import random
import time
import uuid
from pathlib import Path
from typing import Any

import duckdb

from shop_streams.defs.sales.schema import HOURLY
from shop_streams.lake import reader
from shop_streams_tests.harness import Stack

NOW = int(time.time() * 1000)
SHOP: dict[str, Any] = {
    "event_type": "view",
    "category": "c",
    "item_id": "i",
    "item_price": 5,
    "uid": "u",
    "timestamp": NOW,
}
YEAR_2100 = 4_102_444_800_000
REFUSED: list[tuple[bytes | None, str]] = [  # and words of the reason
    (b'{"event_type":"view","cat', "not JSON"),
    (b"", "empty value"),
    (None, "empty value"),
    (b"\xff\xfe\xfd", "invalid UTF-8"),
    (b"   ", "not JSON"),
    (b"5", "not a JSON object"),
    (json.dumps([SHOP]).encode(), "not a JSON object"),
    (json.dumps(SHOP).encode() + b"\n" + json.dumps(SHOP).encode(), "not JSON"),
    (json.dumps(SHOP | {"item_price": "5"}).encode(), "item_price is wrong"),
    (json.dumps(SHOP | {"item_price": 10**12 + 1}).encode(), "item_price is wrong"),
    (json.dumps(SHOP | {"item_price": None}).encode(), "item_price is missing"),
    (json.dumps(SHOP | {"uid": 12345}).encode(), "uid is wrong"),
    (json.dumps(SHOP | {"event_type": "look"}).encode(), "event_type is none of view, buy"),
    (json.dumps(SHOP | {"timestamp": NOW // 1000}).encode(), "timestamp is before 2015-01-01"),
    (json.dumps(SHOP | {"timestamp": YEAR_2100}).encode(), "timestamp is more than an hour ahead"),
    (json.dumps(SHOP | {"timestamp": 2**62}).encode(), "timestamp is wrong"),
]
GOOD_BUT_UNUSUAL: list[bytes] = [
    b"  " + json.dumps(SHOP).encode() + b"\n",
    json.dumps(SHOP | {"item_id": "a } and { b"}).encode(),
    json.dumps({name: value for name, value in SHOP.items() if name not in ("uid", "category", "item_id")}).encode(),
    json.dumps(SHOP | {"category": "", "item_price": 10**12}).encode(),
    json.dumps(SHOP | {"uid": None, "more": {"nested": [1, {}]}}).encode(),
    json.dumps(SHOP | {"category": "тёплое"}, ensure_ascii=False).encode(),
]
ORACLE = """
with events as (select * from read_json(?, columns = {event_type: 'VARCHAR', item_price: 'BIGINT', uid: 'VARCHAR', "timestamp": 'BIGINT'})),
     anchored as (select *, ("timestamp" // 1000 - ?) // 3600 * 3600 + ? as start_ts from events)
select start_ts, start_ts + 3600 as end_ts,
       coalesce(sum(item_price) filter (event_type = 'buy'), 0)::bigint as revenue,
       count(uid) as visitors, count(*) filter (event_type = 'buy') as purchases,
       sum(item_price) filter (event_type = 'buy') / count(*) filter (event_type = 'buy') as aov,
       count(distinct uid) as unique_visitors
  from anchored group by start_ts order by start_ts
"""


def make_events(count: int, seed: int, first: int, hours: int) -> list[dict[str, Any]]:
    """Events in disorder; some hours have no purchase, some visitors no uid."""
    source = random.Random(seed)
    return [
        {
            "event_type": "buy" if source.random() < 0.02 else "view",
            "category": "c",
            "item_id": f"i{source.randrange(50)}",
            "item_price": source.randrange(10_000),
            "uid": None if source.random() < 0.3 else f"u{source.randrange(40)}",
            "timestamp": first + source.randrange(hours * 3_600_000),
        }
        for _ in range(count)
    ]


def oracle(events: list[dict[str, Any]], folder: Path, offset: int = 0) -> list[dict[str, Any]]:
    path = folder / f"{uuid.uuid4().hex}.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    with duckdb.connect() as connection:
        result = connection.execute(ORACLE, [str(path), offset, offset])
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in names} for row in rows]


REPEATS = ("repeats", "repeats_revenue", "repeats_visitors", "repeats_purchases")


def mart(stack: Stack, day: str) -> list[dict[str, Any]]:
    """The mart's hours of one day, without what DuckDB does not know."""
    rows = reader.scan(HOURLY.uri(stack.settings), [column.name for column in HOURLY.columns])
    days = [row for row in (rows.to_pylist() if rows.num_columns else []) if str(row["event_date"]) == day]
    return sorted(without(days, "event_date", "source_rows", *REPEATS), key=lambda row: row["start_ts"])
