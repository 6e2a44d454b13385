"""Marts that ask all history wait for the months' facts, and never for long."""

import time

import dagster as dg
import pytest

from shop_streams.defs.community import marts
from shop_streams.defs.community.marts import DDS, FACTS, FACTS_WAIT_SECONDS, FRIENDS, USERS, ZONES, behind_since
from shop_streams.defs.community.schema import EVENTS
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.compare import Plan
from shop_streams.marts.spec import Mart
from shop_streams.settings import Settings
from shop_streams_tests.patching import replace_in

JANUARY, FEBRUARY = "2026-01-01", "2026-02-01"
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("months", "facts", "since"),
    [
        ([JANUARY], {JANUARY: 90}, None),
        ([JANUARY], {JANUARY: 60}, 70),
        ([JANUARY], {}, 50),
        ([FEBRUARY], {JANUARY: 60}, 80),
        ([JANUARY, FEBRUARY], {JANUARY: 60, FEBRUARY: 60}, 70),
        ([], {}, None),
    ],
)
def test_facts_are_behind_since_the_first_date_that_they_lack(
    months: list[str], facts: dict[str, int], since: int | None
) -> None:
    assert behind_since(months, {"2026-01-03": 50, "2026-01-31": 70, "2026-02-01": 80}, facts) == since


@pytest.mark.parametrize(
    ("due", "seconds", "waits"),
    [([JANUARY], 10, True), ([], 10, False), ([JANUARY], FACTS_WAIT_SECONDS + 1, False)],
    ids=["about to be computed", "up to date", "nobody computes them"],
)
def test_marts_that_ask_all_history_wait_for_the_months_facts(
    due: list[str], seconds: float, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now(mart: Mart, *_: object) -> Plan:
        return Plan(due if mart is FACTS else [], [], "")

    def modified_at(_lake: Lake, table: Table) -> dict[str, int]:
        return {"2026-01-31": int((NOW - seconds) * 1000)} if table is EVENTS else {JANUARY: 1}

    replace_in(monkeypatch, marts, time, time=lambda: NOW)
    monkeypatch.setattr("shop_streams.marts.compare.due_now", now)
    monkeypatch.setattr(marts, "due_now", now)
    monkeypatch.setattr(marts, "not_loaded", lambda *_: None)
    monkeypatch.setattr(Lake, "modified_at", modified_at)
    lake, instance = Lake(Settings()), dg.DagsterInstance.ephemeral()
    for mart in (ZONES, FRIENDS):
        said = mart.waits(lake, instance)
        assert (said is not None) == waits
        assert said is None or said.endswith(f"{JANUARY} first")
    assert USERS.waits(lake, instance) is None, "it reads its window alone"
    assert DDS.waits(lake, instance) is None
