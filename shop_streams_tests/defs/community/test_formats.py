"""A row has one id, whatever file it comes in."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.defs.community.rows import Event, Raw, typed, validate
from shop_streams.rules import Refused
from shop_streams_tests.defs.community.delivered import (
    RAW,
    TIMES,
    read,
    refused,
    valid,
    write_lines,
    write_parquet,
)

IDS = st.none() | st.integers(-(2**63), 2**63 - 1)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
EVENTS = st.fixed_dictionaries(
    {
        field.name: IDS if pa.types.is_int64(field.type) else TEXTS
        for field in RAW.field("event").type
        if field.name not in ("admins", "tags", "media", "datetime", "message_from")
    }
    | {
        "admins": st.none() | st.lists(IDS, max_size=3),
        "tags": st.none() | st.lists(TEXTS, max_size=3),
        "media": st.none() | st.fixed_dictionaries({"media_type": TEXTS, "src": TEXTS}),
        "message_from": st.integers(-(2**63), 2**63 - 1),
        "datetime": st.just("2026-01-01 10:00:00"),
    }
)
ROWS = st.fixed_dictionaries({"event": EVENTS, "event_type": st.just("message"), "lat": NUMBERS, "lon": NUMBERS})


def as_texts(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its ids as texts, in the types of a file whose writer did not know that they are numbers."""
    event = {
        name: str(value) if type(value) is int else [v if v is None else str(v) for v in value] if name == "admins" and value is not None else value
        for name, value in row["event"].items()
    }  # fmt: skip
    return row | {"event": event}


TEXT_EVENT = pa.struct(
    [
        (one.name, pa.list_(pa.large_string()) if one.name == "admins" else one.type if pa.types.is_nested(one.type) else pa.large_string())
        for one in RAW.field("event").type
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4, unique_by=repr))
def test_a_row_has_one_id_in_every_format(rows: list[dict[str, Any]]) -> None:
    texts = [as_texts(row) for row in rows]
    text_schema = RAW.set(0, pa.field("event", TEXT_EVENT))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = [
            write_lines(root / "a.jsonl", rows),
            write_lines(root / "b.jsonl", texts),
            write_parquet(root / "c.parquet", rows),
            write_parquet(root / "d.parquet", pa.Table.from_pylist(texts, schema=text_schema)),
            # without the absent fields, in another order, and with others
            write_lines(root / "e.jsonl", [{"x": {}} | dict(reversed(_present(row).items())) for row in rows]),
        ]
        found = [read(file, root=root) for file in files]
    assert [refused(one) for one in found] == [[]] * len(files)
    ids = [[row["event_id"] for row in valid(one)] for one in found]
    assert ids == [ids[0]] * len(files)
    normal = {json.dumps(row, sort_keys=True).replace("-0.0", "0.0") for row in rows}
    assert len(set(ids[0])) == len(normal)
    stored = [{name: row[name] for name in ("event", "event_type", "lat", "lon")} for row in valid(found[0])]
    assert stored == rows


def _present(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"event": {name: value for name, value in row["event"].items() if value is not None}}


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["event", "event_type", "lat", *Event.__struct_fields__]), inner, max_size=5),
)  # fmt: skip


@given(JUNK)
def test_no_value_is_worse_than_refused(value: Any) -> None:
    raw, problems = typed(value)
    assert isinstance(raw, Raw)
    with pytest.raises(Refused):
        validate(raw, TIMES, [*problems, ("x", "y")])
