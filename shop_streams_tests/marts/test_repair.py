"""A mart's sensor recomputes exactly the partitions whose source has another version than they were computed from."""

import subprocess
import time
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import cast
from unittest.mock import Mock

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.defs.app_events.marts import MART as ENRICHED_MART
from shop_streams.defs.app_events.partitions import FIRST_DAY as APP_EVENTS_FIRST_DAY
from shop_streams.defs.app_events.rules import check_event_time
from shop_streams.defs.sales.marts import MART as SALES_MART
from shop_streams.defs.sales.partitions import FIRST_DAY
from shop_streams.lake.asset import asset_key
from shop_streams.marts import compute, history
from shop_streams.marts.compare import known, plan
from shop_streams.marts.history import Computed, computed_empty, recent_writes
from shop_streams.marts.repair import (
    PROCESS_TAG,
    RANGE_END,
    RANGE_START,
    MartRun,
    Readiness,
    readiness,
    request,
)
from shop_streams.marts.serve import NOT_SERVED, agreed
from shop_streams.marts.spec import Mart
from shop_streams.marts.version import version_of
from shop_streams.rules import times_at
from shop_streams.runs import is_gone, this_process

DAYS = [f"2026-01-{day:02d}" for day in range(1, 31)]
counts = st.dictionaries(st.sampled_from(DAYS), st.integers(1, 5))


def at_once(_key: str) -> float:
    return 0.0


def test_only_what_differs_is_recomputed_and_the_words_say_so() -> None:
    todo = plan({"a": 5, "b": 7, "c": 1}, {"a": 5, "b": 6}, at_once)
    assert todo.partitions == ["b", "c"]
    assert todo.why == "compared 3 partitions: 2 differ (b: 6 -> 7 rows, c: 0 -> 1 rows)"


def test_what_vanished_from_the_source_is_recomputed_to_no_rows() -> None:
    todo = plan({"a": 5}, {"a": 5, "b": 6}, at_once)
    assert (todo.partitions, todo.why) == (["b"], "compared 2 partitions: 1 differ (b: 6 -> 0 rows)")
    assert plan({"a": 5}, {"a": 5}, at_once).partitions == []


def test_words_for_a_version_that_differs_in_more_than_rows() -> None:
    why = plan({"a": version_of(5, 8), "b": 3}, {"a": version_of(5, 7), "b": NOT_SERVED}, at_once).why
    assert "a: 5 rows, but its code or other data that it reads changed" in why
    assert "b: PostgreSQL and the lake have different versions" in why


def test_a_partition_that_postgresql_lacks_or_has_in_another_version_is_due() -> None:
    lake, postgres = (
        {"same": 5, "crashed between": 6, "never served": 7},
        {"same": 5, "crashed between": 5, "vanished": 2},
    )
    recorded = agreed(lake, postgres | {"emptied": 0})
    assert plan({"same": 5, "crashed between": 6, "never served": 7}, recorded, at_once).partitions == [
        "crashed between",
        "never served",
        "vanished",
    ]


def test_a_partition_with_a_pause_waits_and_holds_up_no_other() -> None:
    todo = plan({"a": 5, "b": 7, "c": 1}, {}, {"a": 0.0, "b": 40.0, "c": 12.4}.__getitem__)
    assert (todo.partitions, todo.waiting) == (["a"], ["b", "c"])
    assert todo.why.endswith("; 2 still live or just computed, the next is due in 12 s")


def test_a_partition_that_failed_backs_off_by_itself_and_the_words_say_which_and_how_long() -> None:
    live = {"a": 0.0, "b": 40.0, "c": 30.0, "d": 0.0}.__getitem__
    todo = plan(dict.fromkeys("abcd", 5), {}, live, failed={"c": 80.4, "d": 0.0, "gone": 9.0})
    assert (todo.partitions, todo.waiting) == (["a", "d"], ["b", "c"])
    assert todo.why.endswith(
        "; 1 still live or just computed, the next is due in 40 s; could not be computed and back off: c for 80 s"
    )


def test_a_partition_that_dagster_does_not_have_yet_is_left_alone() -> None:
    assert plan({"2026-01-01": 1, "2999-01-01": 1}, {}, at_once, lambda key: key < "2999").partitions == ["2026-01-01"]


@pytest.mark.parametrize("mart", [SALES_MART, ENRICHED_MART], ids=lambda mart: mart.name)
def test_what_dagster_has_is_known_without_a_list_of_all(mart: Mart) -> None:
    keys = mart.partitions.get_partition_keys()
    assert len(keys) < 20_000, "the UI lists them at each look at the asset, 3-hour windows at 0.2 ms each"
    last = mart.partitions.get_last_partition_window()
    assert last
    beyond = last.end.strftime(mart.partitions.fmt)
    exists = known(mart.partitions)
    assert [exists(key) for key in (keys[0], keys[-1], beyond)] == [True, True, False]
    assert not exists(keys[0].replace("20", "19", 1))


def test_windows_begin_on_the_first_day_that_the_rules_accept() -> None:
    def verdict(day: date) -> str | None:
        return check_event_time(datetime(day.year, day.month, day.day), times_at(FIRST_DAY, datetime(2030, 1, 1)))

    first = date.fromisoformat(APP_EVENTS_FIRST_DAY)
    assert verdict(first) is None
    assert str(verdict(first - timedelta(days=1))).startswith(f"is before {first}")


@given(counts, counts)
def test_recomputing_the_plan_leaves_nothing_to_do(current: dict[str, int], recorded: dict[str, int]) -> None:
    todo = plan(current, recorded, at_once)
    repaired = recorded | {key: current.get(key, 0) for key in todo.partitions}
    assert plan(current, repaired, at_once).partitions == []
    assert all(current.get(key, 0) != recorded.get(key, 0) for key in todo.partitions)


@given(st.sets(st.sampled_from(DAYS), min_size=1))
def test_a_run_is_for_exactly_what_is_due(keys: set[str]) -> None:
    asked = request(SALES_MART, sorted(keys))
    first, last = DAYS.index(asked.tags[RANGE_START]), DAYS.index(asked.tags[RANGE_END])
    also = asked.run_config["ops"]["sales__hourly_metrics"]["config"]["also"]
    assert [*DAYS[first : last + 1], *also] == sorted(keys)


FAILED, STARTED, QUEUED, SUCCESS = "FAILURE", "STARTED", "QUEUED", "SUCCESS"
READINESS: dict[str, tuple[list[MartRun], str | None, tuple[str, ...]]] = {
    "never ran": ([], None, ()),
    "the last one went well": ([MartRun("a", SUCCESS, "alive", 3)], None, ()),
    "one is under way": ([MartRun("a", STARTED, "alive")], "run a of this mart is STARTED", ()),
    "one waits in the queue": ([MartRun("a", QUEUED)], "run a of this mart is QUEUED", ()),
    "one was killed: its process is gone": ([MartRun("a", STARTED, "gone")], None, ("a",)),
    "killed after a failure": (
        [MartRun("b", STARTED, "gone"), MartRun("a", FAILED, "gone", 60)],
        "backing off: 2 failures in a row, 10 of 10 s to wait",
        ("b",),
    ),
    "failed once: at once": ([MartRun("a", FAILED, "gone", 1)], None, ()),
    "failed three times": (
        [MartRun("c", FAILED, "gone", 5), MartRun("b", FAILED, "gone", 9), MartRun("a", FAILED, "gone", 30)],
        "backing off: 3 failures in a row, 15 of 20 s to wait",
        (),
    ),
    "it failed for some partitions, which back off by themselves": (
        [MartRun(run, FAILED, "x", 1, partial=True) for run in "dcba"],
        None,
        (),
    ),
    "a success ends the series": ([MartRun("c", FAILED, "x", 5), MartRun("b", SUCCESS, "x", 9)], None, ()),
}


@pytest.mark.parametrize("case", READINESS)
def test_a_run_waits_for_the_one_before_and_backs_off(case: str) -> None:
    runs, wait, dead = READINESS[case]
    assert readiness(runs, lambda process: process == "gone") == Readiness(wait, dead)


def heard(_process: str) -> float:
    return 0.0


def test_a_process_is_gone_when_it_ended_or_its_number_was_given_away() -> None:
    assert not is_gone(this_process(), heard)
    host, pid, began = this_process().rsplit(":", 2)
    assert is_gone(f"{host}:{pid}:{int(began) - 60}", heard)
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert is_gone(f"{host}:{ended.pid}:{began}", heard)


@pytest.mark.parametrize(("silent_for", "gone"), [(None, False), (0.5, False), (59.0, False), (61.0, True)])
def test_a_process_of_another_host_is_gone_when_it_is_silent_for_too_long(silent_for: float | None, gone: bool) -> None:
    assert is_gone("another-host:1:0", lambda _process: silent_for) == gone


def test_a_marts_run_beats_from_its_claim_on(monkeypatch: pytest.MonkeyPatch) -> None:
    beating: list[str] = []
    monkeypatch.setattr(compute, "ProcessBeats", lambda _dsn: SimpleNamespace(beat_until_the_end=beating.append))
    instance = SimpleNamespace(add_run_tags=lambda _run, tags: beating.append(tags[PROCESS_TAG]))
    compute.claim(cast(dg.DagsterInstance, instance), "run", SALES_MART, "")
    assert beating == [this_process()] * 2


@pytest.mark.parametrize("few", [500, 2], ids=["asked for at once", "in parts"])
def test_a_window_without_a_row_counts_as_computed_and_a_lost_table_does_not(
    monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    instance = dg.DagsterInstance.ephemeral()
    listing = Mock(wraps=instance.get_materialized_partitions)
    monkeypatch.setattr(history, "PARTITIONS_ASKED_FOR", few)
    monkeypatch.setattr(instance, "get_materialized_partitions", listing)
    big = str(version_of(3, 9))
    days = {"2026-01-01": (0, {}), "2026-01-02": (7, {}), "2026-01-04": (0, {"source_version": big})}
    for key, (rows, more) in days.items():  # all are gone from the table: two never had a row
        metadata = {"source_rows": 3, "dagster/partition_row_count": rows, "computed_in_seconds": 1.5} | more
        event = dg.AssetMaterialization(asset_key(SALES_MART.table), partition=key, metadata=metadata)
        instance.report_runless_asset_event(event)
    keys = {"2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"}
    assert computed_empty(instance, SALES_MART, keys) == {
        "2026-01-01": Computed(3),
        "2026-01-04": Computed(version_of(3, 9)),
    }
    assert listing.call_count == (few < len(keys)), "a tick with a live partition must not list years of them"
    assert computed_empty(cast(dg.DagsterInstance, None), SALES_MART, set()) == {}, "the log is not asked"
    writes = recent_writes(instance, SALES_MART, time.time() - 60)
    assert {key: [one.seconds for one in found] for key, found in writes.items()} == {key: [1.5] for key in days}
    assert recent_writes(instance, SALES_MART, time.time() + 60) == {}
