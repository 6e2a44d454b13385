"""The decisions of the checks: each case is what a table could have."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from shop_streams.defs.community import checks
from shop_streams.defs.community.facts import month_versions
from shop_streams.defs.community.schema import EVENTS, FRIEND_RECOMMENDATIONS, USER_FACTS
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.settings import Settings

JUNE = date(2026, 6, 1)


def test_dates_have_their_distinct_rows() -> None:
    assert checks.wrong_dates({"a": 3, "b": 1}, {"a": 3, "b": 2, "c": 9}, ["a", "b"]) == [
        "b: 2 events, 1 distinct rows in STG"
    ]
    assert checks.wrong_dates({}, {"a": 3}, ["a"]) == ["a: 3 events, 0 distinct rows in STG"]


def write_rows(lake: Lake, table: Table, rows: list[dict[str, Any]]) -> None:
    write_deltalake(
        table.uri(lake.settings), pa.Table.from_pylist(rows), mode="overwrite", partition_by=[*table.partition_by]
    )


def test_who_wrote_to_whom_is_read_from_the_months_facts_and_later_events(tmp_path: Path) -> None:
    """The month's fact counts while it is of the events as they are; then they are read themselves."""
    lake = Lake(Settings(lake_uri=str(tmp_path)))
    events = [("2026-06-03", 1, 2, 5), ("2026-07-02", 4, 3, 6), ("2026-07-03", 3, 9, 7), ("2026-07-09", 5, 4, 8)]
    rows: list[dict[str, Any]] = [
        {
            "event_date": date.fromisoformat(day),
            "event_type": "message",
            "user_id": one,
            "message_to": to,
            "source_rows": version,
        }
        for day, one, to, version in events
    ]
    write_rows(lake, EVENTS, rows)
    june = month_versions(lake.source_versions(EVENTS))["2026-06-01"]
    write_rows(lake, FRIEND_RECOMMENDATIONS, [{"calculation_date": date(2026, 7, 3), "user_left": 1, "user_right": 4}])
    fact = {"kind": "written_to", "month": JUNE, "user_id": 2, "other": 3}
    write_rows(lake, USER_FACTS, [{**fact, "source_rows": june}])

    def written() -> set[tuple[int, int]]:
        found = checks.written_between(lake, np.array([1, 2, 3, 4, 5]), "2026-07-03")
        return {pair for keys in found for pair in zip(*(one.tolist() for one in keys), strict=True)}

    assert written() == {(2, 3), (3, 4)}
    write_rows(lake, USER_FACTS, [{**fact, "source_rows": june + 1}])
    assert written() == {(1, 2), (3, 4)}
    write_rows(lake, EVENTS, [{**row, "message_to": row["message_to"] + 1} for row in rows])  # late rows
    assert written() == set(), "the date was computed before they came"
