"""A mart's sensor recomputes exactly the partitions whose source has other rows than they were computed from."""

import subprocess
from datetime import date, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

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
from shop_streams.marts import spec
from shop_streams.marts.repair import MartRun, Readiness, computed_empty, contiguous, known, plan, readiness, requests
from shop_streams.marts.spec import CLOSING_GRACE_SECONDS
from shop_streams.rules import times_at
from shop_streams.runs import is_gone, this_process
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Lease
from shop_streams.streaming.priority import streams_first

DAYS = [f"2026-01-{day:02d}" for day in range(1, 31)]
counts = st.dictionaries(st.sampled_from(DAYS), st.integers(1, 5))


def at_once(_key: str) -> float:
    return 0.0


def test_only_what_differs_is_recomputed_and_the_words_say_so() -> None:
    todo = plan({"a": 5, "b": 7, "c": 1}, {"a": 5, "b": 6}, at_once)
    assert todo.partitions == ["b", "c"]
    assert todo.why == "compared 3 partitions: 2 differ (b: 6 -> 7 rows, c: 0 -> 1 rows)"


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


NOON = 1_775_044_800  # 2026-04-01T12:00Z
PAUSES: dict[str, tuple[str, float | None, float]] = {
    "closed, never computed": ("2026-03-01", None, 0.0),
    "closed, computed long ago": ("2026-03-01", NOON - 3600, 0.0),
    "closed, computed 20 s ago": ("2026-03-01", NOON - 20, 40.0),
    "live, never computed": ("2026-04-01", None, 0.0),
    "live, computed 20 s ago": ("2026-04-01", NOON - 20, 280.0),
    "live, computed 300 s ago": ("2026-04-01", NOON - 300, 0.0),
}


@pytest.mark.parametrize("case", PAUSES)
def test_how_long_a_partition_waits(case: str) -> None:
    key, written, pause = PAUSES[case]
    settings = Settings(mart_refresh_seconds=300, mart_repair_seconds=60)
    assert SALES_MART.pause(settings, key, written, NOON) == pause


def test_a_window_that_waits_until_it_has_closed() -> None:
    key, settings = "2026-04-01-12:00", Settings()
    closes = NOON + 3 * 3600 + CLOSING_GRACE_SECONDS
    assert ENRICHED_MART.pause(settings, key, None, NOON) == closes - NOON
    assert ENRICHED_MART.pause(settings, key, None, closes) == 0


def test_a_partition_that_dagster_does_not_have_yet_is_left_alone() -> None:
    assert plan({"2026-01-01": 1, "2999-01-01": 1}, {}, at_once, lambda key: key < "2999").partitions == ["2026-01-01"]


@pytest.mark.parametrize("mart", [SALES_MART, ENRICHED_MART], ids=lambda mart: mart.name)
def test_what_dagster_has_is_known_without_a_list_of_all(mart: spec.Mart) -> None:
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
    repaired = recorded | {key: current[key] for key in todo.partitions}
    assert plan(current, repaired, at_once).partitions == []
    assert all(current[key] != recorded.get(key, 0) for key in todo.partitions)


@given(st.sets(st.sampled_from(DAYS)))
def test_ranges_hold_exactly_the_keys_and_never_touch(keys: set[str]) -> None:
    ranges = contiguous(sorted(keys), SALES_MART.partitions)
    covered = [DAYS[i] for first, last in ranges for i in range(DAYS.index(first), DAYS.index(last) + 1)]
    assert covered == sorted(keys)
    assert all(DAYS.index(b[0]) - DAYS.index(a[1]) > 1 for a, b in pairwise(ranges))


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


def lease(name: str, **more: Any) -> Lease:
    known: dict[str, Any] = {"lag": 0, "released": False, "beat_age": 1.0, "failures": 0} | more
    return Lease(name, "run", 1, "host", 1, progress={}, held_for=9.0, **known)


DEFINED = {"keep_a_alive", "keep_b_alive"}


def test_streams_that_are_starting_come_first() -> None:
    wait = "b is starting or misses its broker, and streams come first"
    failed = {"released": True, "lag": None, "beat_age": 2.0}
    assert streams_first({}, DEFINED, set(), 15) is None
    assert streams_first({"a": lease("a")}, DEFINED, set(), 15) is None
    assert streams_first({"a": lease("a"), "b": lease("b", lag=None)}, DEFINED, set(), 15) == wait
    assert streams_first({"a": lease("a"), "b": lease("b", beat_age=20.0)}, DEFINED, set(), 15) == wait
    assert streams_first({"a": lease("a"), "b": lease("b", **failed)}, DEFINED, set(), 15) == wait
    assert streams_first({"a": lease("a"), "b": lease("b", **failed)}, DEFINED, {"keep_b_alive"}, 15) is None
    assert streams_first({"a": lease("a"), "b": lease("b", **failed, failures=2)}, DEFINED, set(), 15) is None


def test_nobody_waits_for_a_stream_that_this_code_does_not_define() -> None:
    renamed = {"a": lease("a"), "of_last_year": lease("of_last_year", released=True, lag=None)}
    assert streams_first(renamed, DEFINED, set(), 15) is None


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
    monkeypatch.setattr(spec, "ProcessBeats", lambda _dsn: SimpleNamespace(beat_until_the_end=beating.append))
    instance = SimpleNamespace(add_run_tags=lambda _run, tags: beating.append(tags[spec.PROCESS_TAG]))
    spec.claim(cast(dg.DagsterInstance, instance), "run", SALES_MART)
    assert beating == [this_process()] * 2


def test_forty_scattered_days_are_one_run_and_a_few_ranges_are_ranges() -> None:
    days = [str(date(2026, 1, 1) + timedelta(days=number)) for number in range(100)]
    scattered = days[:80:2]
    (one,) = requests(SALES_MART, scattered, "repair_sales_hourly_metrics")
    assert one.job_name == "repair_sales_hourly_metrics"
    assert one.run_config["ops"]["recompute_sales_hourly_metrics"]["config"]["partitions"] == scattered
    ranges = requests(SALES_MART, days[:40] + days[50:51], "repair_sales_hourly_metrics")
    assert [
        (r.tags["dagster/asset_partition_range_start"], r.tags["dagster/asset_partition_range_end"]) for r in ranges
    ] == [
        (days[0], days[39]),
        (days[50], days[50]),
    ]


def test_a_window_without_a_row_counts_as_computed_and_a_lost_table_does_not() -> None:
    instance = dg.DagsterInstance.ephemeral()
    for key, rows in {"2026-01-01": 0, "2026-01-02": 7}.items():  # both gone from the table: one never had a row
        metadata = {"source_rows": 3, "dagster/partition_row_count": rows}
        event = dg.AssetMaterialization(asset_key(SALES_MART.table), partition=key, metadata=metadata)
        instance.report_runless_asset_event(event)
    keys = {"2026-01-01", "2026-01-02", "2026-01-03"}
    assert computed_empty(instance, SALES_MART, keys) == {"2026-01-01": 3}
