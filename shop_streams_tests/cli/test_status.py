"""`shop-streams status`: its tables in a terminal of 80 columns, and how it asks."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from rich.console import Console

from shop_streams.cli import status
from shop_streams.cli.status import print_status
from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.settings import Settings
from shop_streams.streaming.spec import StreamSpec


def text_of(**numbers: int) -> str:
    """The tables of one service, one stream and one topic, whose account has these numbers."""
    totals = dict.fromkeys(("records", "rows", "dead_letters", "forgotten", "lost", "in_flight", "missing"), 0)
    stream = {"state": "running", "run_id": "feff0b1f-4a99", "epoch": 2, "batch_id": 12345, "problem": None}
    says = {"says": "running for 14 min, Kafka does not answer"}
    state = {
        "services": {"kafka": {"state": "healthy", "pid": 1}},
        "streams": {"promotion_notifications": stream | says},
        "topics": {"promotion_notifications": totals | numbers | {"copies": 1, "problem": None}},
        "endpoints": {},
    }
    written = io.StringIO()
    print_status(state, Console(file=written, width=80))
    return written.getvalue()


def test_no_number_is_cut_or_broken() -> None:
    shown = text_of(records=12_345_678, rows=12_345_600, dead_letters=56, in_flight=22, missing=0)
    line = next(line for line in shown.splitlines() if "12,345,678" in line)
    assert line.split()[3::2] == ["12,345,678", "12,345,600", "56", "22", "0", "1"]
    assert max(map(len, shown.splitlines())) <= 80
    assert "feff0b1f" in shown and "12345" in shown


def columns(**numbers: int) -> set[str]:
    """The words of the table's heads."""
    return {word for line in text_of(**numbers).splitlines() if line.startswith("┃") for word in line.split()}


def test_what_was_lost_or_forgotten_has_columns_of_its_own_when_there_is_any() -> None:
    assert not {"lost", "forgotten"} & columns(records=2, rows=2)
    assert {"lost", "forgotten"} & columns(records=7, rows=4, forgotten=1) == {"forgotten"}
    assert {"lost", "forgotten"} & columns(records=7, rows=4, lost=3) == {"lost"}


def test_all_topics_are_asked_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a Kafka that hangs, the time limits of the questions do not add up."""
    together = threading.Barrier(len(LAKE_STREAMS))

    def totals(_spec: StreamSpec, _settings: Settings, _ask: bool) -> dict[str, Any]:
        together.wait(20)
        return {}

    monkeypatch.setattr(status, "topic_totals", totals)
    assert status._topics(Settings(), ask=False) == {one.topic.name: {"copies": None} for one in LAKE_STREAMS}
