"""The decisions of the checks: each case is what a table could have."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.defs.community import checks
from shop_streams.defs.community.facts import month_versions
from shop_streams.defs.community.schema import EVENTS, FRIEND_RECOMMENDATIONS, USER_FACTS
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.settings import Settings

JUNE, JULY = date(2026, 6, 1), date(2026, 7, 1)
WEEK = date(2026, 6, 29)


@pytest.mark.parametrize(
    ("rows", "letters", "problems"),
    [
        ([("a", 1), ("a", 2), ("b", 1)], [("a", 3), ("c", None)], []),
        ([("a", 1), ("a", 1)], [], ["a:1 is loaded 2 times"]),
        ([("a", 1)], [("a", 1)], ["a:1 is a row and a dead letter"]),
    ],
)
def test_rows_are_loaded_or_refused(
    rows: list[tuple[str, int]], letters: list[tuple[str, int | None]], problems: list[str]
) -> None:
    table = pa.table({"file": [file for file, _ in rows], "line": [line for _, line in rows]})
    assert checks.loaded_and_refused(table, letters) == problems


def test_dates_have_their_distinct_rows() -> None:
    assert checks.wrong_dates({"a": 3, "b": 1}, {"a": 3, "b": 2, "c": 9}, ["a", "b"]) == [
        "b: 2 events, 1 distinct rows in STG"
    ]
    assert checks.wrong_dates({}, {"a": 3}, ["a"]) == ["a: 3 events, 0 distinct rows in STG"]


@pytest.mark.parametrize(
    ("travels", "count", "home", "right"),
    [(["Sydney", "Perth"], 2, "Perth", True), ([], 0, None, True), (["Sydney"], 2, None, False), (["Sydney"], 1, "Perth", False)],
)  # fmt: skip
def test_travels(travels: list[str], count: int, home: str | None, right: bool) -> None:
    row = {"user_id": 1, "travel_array": travels, "travel_count": count, "home_city": home}
    assert (checks.wrong_travels([row]) == []) is right


@pytest.mark.parametrize(
    ("zones", "right"), [([1, 2, 3], True), ([1, 2], False), ([1, 2, 3, 3], False), ([1, 2, 4], False)]
)
def test_every_zone_is_in_every_week(zones: list[int], right: bool) -> None:
    good = [{"month": JULY, "week": WEEK, "zone_id": zone} for zone in (1, 2, 3)]
    rows = [{"month": JUNE, "week": WEEK, "zone_id": zone} for zone in zones]
    assert (checks.missing_zones([*good, *rows], [1, 2, 3]) == []) is right


@pytest.mark.parametrize(
    ("pairs", "right"),
    [([(1, 2), (1, 3)], True), ([(2, 1)], False), ([(1, 1)], False), ([(1, 2), (1, 2)], False), ([], True)],
)
def test_pairs(pairs: list[tuple[int, int]], right: bool) -> None:
    assert (checks.wrong_pairs(pairs) == []) is right


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
    users = {1, 2, 3, 4, 5}
    assert checks.written_between(lake, users, "2026-07-03") == {(2, 3), (3, 4)}
    write_rows(lake, USER_FACTS, [{**fact, "source_rows": june + 1}])
    assert checks.written_between(lake, users, "2026-07-03") == {(1, 2), (3, 4)}
    write_rows(lake, EVENTS, [{**row, "message_to": row["message_to"] + 1} for row in rows])  # late rows
    assert checks.written_between(lake, users, "2026-07-03") == set(), "the date was computed before they came"
