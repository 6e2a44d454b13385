"""Versions of event dates: those of the distinct rows in all folders, read again only where files have changed."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.defs.community import versions
from shop_streams.defs.community.schema import STG_EVENTS
from shop_streams.defs.community.versions import (
    State,
    advance,
    event_versions,
    stg_reader,
)
from shop_streams.lake.reader import Lake
from shop_streams.marts.version import rows_of
from shop_streams.settings import Settings

DAYS = [f"2026-01-0{number}" for number in range(1, 6)]
Folders = dict[str, list[tuple[str, str]]]
"""Folder -> (event date, event id) of its rows"""


class Stg:
    """STG in memory; a folder's fingerprint is the number of its last write."""

    def __init__(self) -> None:
        self.folders: Folders = {}
        self.fingerprints: dict[str, int] = {}
        self.writes = 0
        self.reads: list[tuple[list[str], list[str] | None]] = []

    def write(self, folder: str, rows: list[tuple[str, str]]) -> None:
        """Replace the folder's rows; without rows, the partition is gone."""
        self.writes += 1
        self.folders.pop(folder, None)
        self.fingerprints.pop(folder, None)
        if rows:
            self.folders[folder], self.fingerprints[folder] = rows, self.writes

    def read(self, folders: Collection[str], dates: Collection[str] | None) -> Iterator[pa.RecordBatch]:
        self.reads.append((sorted(folders), sorted(dates) if dates is not None else None))
        for folder, rows in self.folders.items():  # a reader may give more folders than those
            kept = [row for row in rows if dates is None or row[0] in dates]
            for part in (kept[:3], kept[3:]):
                columns = {
                    "folder_date": pa.array([date.fromisoformat(folder)] * len(part), pa.date32()),
                    "event_date": pa.array([date.fromisoformat(day) for day, _ in part], pa.date32()),
                    "event_id": pa.array([one for _, one in part], pa.string()),
                }
                yield pa.record_batch(columns)

    def content(self) -> dict[str, frozenset[str]]:
        found = defaultdict(set)
        for rows in self.folders.values():
            for day, one in rows:
                found[day].add(one)
        return {day: frozenset(ids) for day, ids in found.items()}


def of(state: State) -> dict[str, int]:
    return event_versions(state.dates, 5, {})


# An id has one date, as the same row has.
IDS = st.integers(0, 25).map(lambda number: (DAYS[number % 5], f"id {number}"))
WRITES = st.lists(
    st.lists(st.tuples(st.sampled_from(DAYS), st.lists(IDS, max_size=12)), max_size=3), min_size=1, max_size=8
)


@given(ticks=WRITES, chunk=st.sampled_from([1, 10, 10**6]))
@settings(max_examples=100, deadline=None)
def test_versions_are_those_of_a_comparison_from_scratch(
    ticks: list[list[tuple[str, list[tuple[str, str]]]]], chunk: int
) -> None:
    """Random loads, reloads, duplicates and deletions. A version differs if and only if a date's set of ids differs."""
    stg, state = Stg(), State()
    seen: dict[tuple[str, frozenset[str]], int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "CHUNK_ROWS", chunk)
        for writes in ticks:
            for folder, rows in writes:
                stg.write(folder, rows)
            state = advance(state, stg.fingerprints, stg.read)
            assert state == advance(State(), stg.fingerprints, stg.read), "the way there does not matter"
            state = State.from_json(json.loads(json.dumps(state.to_json())))
            content, found = stg.content(), of(state)
            assert found.keys() == content.keys()
            assert {day: rows_of(version) for day, version in found.items()} == {
                d: len(ids) for d, ids in content.items()
            }
            for day, ids in content.items():
                assert seen.setdefault((day, ids), found[day]) == found[day]
                assert set(state.folders_of([day])) == {
                    folder for folder, rows in stg.folders.items() if any(row[0] == day for row in rows)
                }
            assert advance(state, stg.fingerprints, stg.read) is state
    assert len(set(seen.values())) == len(seen)


def test_only_what_has_changed_is_read() -> None:
    stg = Stg()
    for number, day in enumerate(DAYS):
        stg.write(day, [(day, f"{day} {n}") for n in range(10)] + [(DAYS[0], f"late {number}")])
    state = advance(State(), stg.fingerprints, stg.read)
    assert stg.reads == [([day], None) for day in DAYS] + [(DAYS, [DAYS[0]])], "of the shared date alone, all folders"

    def reads() -> list[tuple[list[str], list[str] | None]]:
        nonlocal state
        stg.reads.clear()
        state = advance(state, stg.fingerprints, stg.read)
        return stg.reads

    assert reads() == []
    stg.write(DAYS[2], list(stg.folders[DAYS[2]]))
    before = state
    assert reads() == [([DAYS[2]], None)] and state.dates == before.dates, (
        "files of the same rows, as after a compaction"
    )
    stg.write(DAYS[2], [*stg.folders[DAYS[2]], (DAYS[2], "more")])
    assert reads() == [([DAYS[2]], None)], "a date of one folder"
    stg.write(DAYS[3], [*stg.folders[DAYS[3]], (DAYS[2], "other")])
    assert reads() == [([DAYS[3]], None), ([DAYS[2], DAYS[3]], [DAYS[2]])]
    stg.write(DAYS[4], [])
    assert reads() == [(DAYS[:4], [DAYS[0]])], "what a deleted folder shared"
    assert DAYS[4] not in state.dates


def test_rows_that_are_delivered_again_change_no_version() -> None:
    stg = Stg()
    stg.write(DAYS[0], [(DAYS[0], "a"), (DAYS[0], "b"), (DAYS[1], "c")])
    before = of(advance(State(), stg.fingerprints, stg.read))
    stg.write(DAYS[0], [*reversed(stg.folders[DAYS[0]]), (DAYS[0], "a")])
    stg.write(DAYS[3], [(DAYS[1], "c"), (DAYS[0], "b")])
    assert of(advance(State(), stg.fingerprints, stg.read)) == before
    stg.write(DAYS[0], [])
    assert of(advance(State(), stg.fingerprints, stg.read)) != before


def test_a_version_covers_the_cities_and_the_refills() -> None:
    dates = {"2026-01-01": (3, 77), "2026-01-02": (3, 78)}
    first = event_versions(dates, 5, {})
    changed = [
        event_versions(dates, 6, {}),
        event_versions(dates, 5, {"2026-01-01": 1}),
        event_versions(dates, 5, {"2026-01-01": 2}),
    ]
    assert len({one["2026-01-01"] for one in [first, *changed]}) == 4
    assert first["2026-01-02"] == changed[1]["2026-01-02"] != first["2026-01-01"]
    assert {rows_of(one) for versions in [first, *changed] for one in versions.values()} == {3}


@pytest.mark.parametrize("found", [None, [], "x", {}, {"form": 0, "folders": {}}])
def test_a_state_of_another_form_is_none(found: object) -> None:
    assert State.from_json(found) == State()


def test_stg_is_read_from_delta_at_a_snapshot(tmp_path: Path) -> None:
    lake = Lake(Settings(home=tmp_path))
    assert lake.fingerprints(STG_EVENTS) == {} and list(stg_reader(lake, 0)(["2026-01-01"], None)) == []

    def write(folder: str, rows: list[tuple[str, str]]) -> None:
        days = [date.fromisoformat(day) for day, _ in rows]
        table = pa.table(
            {
                "event_id": [one for _, one in rows], "event_date": pa.array(days, pa.date32()),
                "folder_date": pa.array([date.fromisoformat(folder)] * len(rows), pa.date32()),
            }
        )  # fmt: skip
        predicate = f"folder_date = '{folder}'"
        there = (tmp_path / "lake" / STG_EVENTS.path).exists()
        more = {"mode": "overwrite", "predicate": predicate} if there else {}
        write_deltalake(STG_EVENTS.uri(lake.settings), table, partition_by=["folder_date"], **more)  # type: ignore[call-overload]

    def advanced(state: State, snapshot: int) -> State:
        return advance(state, lake.fingerprints(STG_EVENTS, snapshot), stg_reader(lake, snapshot))

    write(DAYS[0], [(DAYS[0], "a"), (DAYS[1], "b")])
    write(DAYS[1], [(DAYS[1], "b"), (DAYS[1], "c"), (DAYS[1], "c")])
    first = advanced(State(), 1)
    assert {day: count for day, (count, _) in first.dates.items()} == {DAYS[0]: 1, DAYS[1]: 2}
    write(DAYS[1], [(DAYS[1], "c"), (DAYS[2], "d")])
    second = advanced(first, 2)
    assert {day: count for day, (count, _) in second.dates.items()} == {DAYS[0]: 1, DAYS[1]: 2, DAYS[2]: 1}
    assert second.folders[DAYS[0]] == first.folders[DAYS[0]] and second.folders[DAYS[1]] != first.folders[DAYS[1]]
    assert advanced(second, 1) == first, "and back"
    DeltaTable(STG_EVENTS.uri(lake.settings)).optimize.compact()
    write(DAYS[0], [])
    assert set(advanced(second, lake.version(STG_EVENTS) or 0).dates) == {DAYS[1], DAYS[2]}
