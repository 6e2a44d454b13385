"""Shop events of the tests, and DuckDB over them."""

import json
import random
import uuid
from pathlib import Path
from typing import Any

import duckdb

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
