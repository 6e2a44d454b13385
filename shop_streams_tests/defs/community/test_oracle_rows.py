"""The oracle's reading of RAW against examples of the specification."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shop_streams_tests.defs.community import oracle
from shop_streams_tests.defs.community.oracle import Raw
from shop_streams_tests.defs.community.oracle_examples import CITIES, DAY, NOW, SYDNEY, event, valid


def reason(row: Any) -> str | None:
    _, refused = oracle.verdicts([Raw("f", 3, DAY, row)], NOW)
    return refused[0].reason if refused else None


MESSAGE = event("message", 1, "2026-07-01 10:00:00")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (MESSAGE, None),
        (event("message", 1, "2026-07-01 10:00:00", message_id="12"), None),
        (event("message", 1, "2026-07-01 10:00:00", message=12), None),
        (event("reaction", 5, "2026-07-01 10:00:00"), None),
        (MESSAGE | {"lat": 91.0, "lon": float("nan")}, None),
        (event("message", 1, "2026-08-01 13:00:00"), None),
        (event("message", 1, "2026-08-01 13:00:00.000001"), "ahead of now"),
        (event("message", 1, "2015-01-01 00:00:00"), None),
        (event("message", 1, "2015-01-01 00:30:00+01:00"), "before the first day"),
        (event("message", 1, "2026-07-01"), "time"),
        (event("message", 1, "2026-07-01 24:00:00"), "time"),
        (event("message", 1, "2026-07-01 10:00:00.1234567890"), "time"),
        (event("message", 1, "2026-07-01 10:00:00", message_id="1x"), "event.message_id"),
        (event("message", 1, "2026-07-01 10:00:00", message_id=True), "event.message_id"),
        (event("message", 1, "2026-07-01 10:00:00", message_id=2**63), "event.message_id"),
        (event("message", 1, "2026-07-01 10:00:00", admins=["a"]), "event.admins"),
        (event("message", 1, "2026-07-01 10:00:00", tags="a"), "event.tags"),
        (MESSAGE | {"lat": "1.5"}, "lat"),
        (MESSAGE | {"event_type": "call"}, "event_type"),
        (MESSAGE | {"event_type": "reaction"}, "user"),
        ({"event_type": "message"}, "user"),
        ([], "not an object"),
    ],
)
def test_valid_and_refused_rows(row: Any, expected: str | None) -> None:
    assert reason(row) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-01 10:00:00", datetime(2026, 7, 1, 10)),
        ("2026-07-01T10:00:00.123456789", datetime(2026, 7, 1, 10, 0, 0, 123456)),
        ("2026-07-01T08:00:00.5+10:00", datetime(2026, 6, 30, 22, 0, 0, 500000)),
        ("2026-06-30 22:30:00-03:30", datetime(2026, 7, 1, 2)),
        ("2026-07-01 10:00:00Z", datetime(2026, 7, 1, 10)),
    ],
)
def test_times(text: str, expected: datetime) -> None:
    for field in ("datetime", "message_ts"):
        row = {"event": {"message_from": 1, field: text}, "event_type": "message"}
        assert valid(row)[0].time == expected.replace(tzinfo=UTC)
    both = {
        "event": {"message_from": 1, "datetime": text, "message_ts": "2020-01-01 00:00:00"},
        "event_type": "message",
    }
    assert valid(both)[0].time == expected.replace(tzinfo=UTC)


def test_users_of_the_four_kinds() -> None:
    subscription = {
        "event": {"subscription_user": "8", "datetime": "2026-07-01 10:00:00"},
        "event_type": "subscription",
    }
    by_user = {"event": subscription["event"] | {"user": "9"}, "event_type": "subscription"}  # type: ignore[operator]
    rows = valid(MESSAGE, event("reaction", 5, "2026-07-01 10:00:00"), event("registration", 6, "2026-07-01 10:00:00"),
                 subscription, by_user)  # fmt: skip
    assert [row.user_id for row in rows] == [1, 5, 6, 8, 9]


def test_the_same_row_in_another_format_folder_and_spelling_is_one_event(tmp_path: Path) -> None:
    row = event("message", 1, "2026-07-01 10:00:00", SYDNEY, message_id=5)
    for name, spelled in (
        ("date=2026-07-01/a.jsonl", row),
        ("date=2026-07-03/x/y/b.ndjson", row | {"event": row["event"] | {"message_from": "1", "message_to": None}}),
        ("date=2026-07-03/_x/b.json", event("message", 2, "2026-07-01 10:00:00")),
        ("date=2026-07-03/.b.json", event("message", 2, "2026-07-01 10:00:00")),
        ("date=2026-07-03/b.txt", event("message", 2, "2026-07-01 10:00:00")),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(spelled) + "\n")
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "date=2026-07-01" / "a.parquet")
    (tmp_path / "date=2026-07-01" / "bad.parquet").write_bytes(b"PAR1")
    (tmp_path / "date=2026-07-01" / "c.json").write_text('\n{"event": \n')
    found, refused = oracle.verdicts(oracle.raw_rows(tmp_path), NOW)
    assert [(one.file, one.folder.day) for one in found] == [
        ("date=2026-07-01/a.jsonl", 1), ("date=2026-07-01/a.parquet", 1), ("date=2026-07-03/x/y/b.ndjson", 3),
    ]  # fmt: skip
    assert [(one.file, one.line) for one in refused] == [
        ("date=2026-07-01/bad.parquet", None),
        ("date=2026-07-01/c.json", 2),
    ]
    assert len(oracle.dds(found, CITIES)) == 1
