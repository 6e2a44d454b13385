"""STG as the source of the events: what it remembers is loaded once, and only when the table has changed."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.defs.community import stg_source as module
from shop_streams.defs.community.schema import STG_EVENTS
from shop_streams.defs.community.stg_source import StgSource
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import Computation
from shop_streams.settings import Settings


class States:
    """The saved state, and how often it was loaded and saved."""

    def __init__(self) -> None:
        self.saved: Any = None
        self.calls: list[str] = []

    def load(self) -> Any:
        self.calls.append("load")
        return self.saved

    def save(self, state: Any) -> None:
        self.calls.append("save")
        self.saved = state


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> States:
    made = States()
    monkeypatch.setattr(module, "SourceStates", lambda *_: made)
    return made


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(Settings(home=tmp_path, lake_uri=str(tmp_path / "lake")))


def deliver(lake: Lake, folder: str, *ids: str) -> int:
    """Load a folder whose events are of January 1; returns the table's version."""
    rows = [
        {"folder_date": date.fromisoformat(folder), "event_date": date(2026, 1, 1), "event_id": one, "user_id": 1,
         "event_type": "message", "event_time": datetime(2026, 1, 1, tzinfo=UTC), "lat": 1.0, "lon": 1.0,
         "event": {"message_id": 1}}
        for one in ids
    ]  # fmt: skip
    write_deltalake(
        STG_EVENTS.uri(lake.settings), pa.Table.from_pylist(rows), mode="append", partition_by=["folder_date"]
    )
    version = lake.version(STG_EVENTS)
    assert version is not None
    return version


def test_the_saved_state_is_loaded_once_in_a_run(lake: Lake, states: States) -> None:
    first = deliver(lake, "2026-01-01", "a", "b")
    source = StgSource(STG_EVENTS)
    for _ in range(3):  # the versions, and for each group what changes other dates and what is read
        assert source.state(lake, first).dates["2026-01-01"][0] == 2
    source.mark_later_dates(None, lake, Computation(("2026-01-01",), first, lake.settings))  # type: ignore[arg-type]
    assert states.calls == ["load", "save"]

    second = deliver(lake, "2026-01-02", "b", "c")
    assert source.state(lake, second).dates["2026-01-01"][0] == 3
    assert states.calls == ["load", "save"] * 2, "another process may have read the new folder already"
    assert source.state(lake, first).dates["2026-01-01"][0] == 2, "it is the state of the version that is asked for"

    other = Lake(lake.settings.model_copy(update={"lake_uri": f"{lake.settings.lake_uri}/other"}))
    deliver(other, "2026-01-01", "x")
    assert source.state(other, 0).dates["2026-01-01"][0] == 1
