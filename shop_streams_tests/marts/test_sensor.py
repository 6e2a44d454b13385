"""The repair sensor itself: what it skips and what it asks for, with a lake and a database that are made up."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from shop_streams.defs.promotions.marts import MART as REPORT
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts import compare, repair
from shop_streams.marts.history import Computed
from shop_streams.marts.serve import PostgresCopy
from shop_streams.marts.spec import Mart, Source, SourceMissing
from shop_streams.settings import Settings

DAY, NEXT = "2026-01-01", "2026-01-02"


@dataclass
class Numbers:
    """A source of given versions."""

    found: dict[str, int] | None
    deps: tuple[dg.AssetKey, ...] = ()

    def snapshot(self, _lake: Lake) -> int:
        if self.found is None:
            raise SourceMissing("nothing is there yet")
        return 0

    def versions(self, _lake: Lake, _snapshot: int) -> dict[str, int]:
        return self.found or {}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "streams_first_now", lambda *_: None)
    monkeypatch.setattr(compare, "MartFailures", lambda *_: SimpleNamespace(pauses=dict))
    monkeypatch.setattr(Lake, "source_versions", lambda *_: {DAY: 5})


def tick(source: dict[str, int] | None, instance: dg.DagsterInstance, **changes: Any) -> Any:
    mart: Mart = replace(REPORT, source=cast(Source, Numbers(source)), **changes)
    context = dg.build_sensor_context(instance=instance, resources={"lake": Lake(Settings(mart_repair_seconds=60))})
    return repair.build_repair_sensor(mart)(context)


def computed(instance: dg.DagsterInstance, key: str, rows: int, version: int) -> None:
    metadata: dict[str, Any] = {"dagster/partition_row_count": rows, "source_version": str(version)}
    instance.report_runless_asset_event(
        dg.AssetMaterialization(asset_key(REPORT.table), partition=key, metadata=metadata)
    )


@pytest.mark.usefixtures("alone")
def test_a_tick_says_what_it_compared_and_asks_for_what_differs() -> None:
    instance = dg.DagsterInstance.ephemeral()
    assert tick({DAY: 5}, instance).skip_reason.skip_message == "compared 1 partitions: 0 differ"
    (asked,) = tick({DAY: 5, NEXT: 1}, instance).run_requests
    assert (asked.job_name, asked.tags[repair.RANGE_START], asked.tags[repair.RANGE_END]) == (REPORT.name, NEXT, NEXT)
    assert tick(None, instance).skip_reason.skip_message == "nothing is there yet"
    (asked,) = tick({}, instance).run_requests
    assert asked.tags[repair.RANGE_START] == DAY, "it vanished from the source, which is there"


@pytest.mark.usefixtures("alone")
def test_a_partition_that_was_just_computed_waits() -> None:
    instance = dg.DagsterInstance.ephemeral()
    computed(instance, DAY, rows=1, version=5)

    def seconds() -> int:
        return int(tick({DAY: 6}, instance).skip_reason.skip_message.split("the next is due in ")[1].split()[0])

    assert 40 < seconds() <= 60
    computed(instance, DAY, rows=1, version=5)
    assert 100 < seconds() <= 120


@pytest.mark.usefixtures("alone")
def test_a_run_of_limited_size_takes_the_newest_partitions() -> None:
    instance, due = dg.DagsterInstance.ephemeral(), {f"2026-01-0{day}": 9 for day in range(1, 7)}

    def asked(**changes: int) -> tuple[str, str]:
        (request,) = tick(due, instance, **changes).run_requests
        return request.tags[repair.RANGE_START], request.tags[repair.RANGE_END]

    assert asked() == ("2026-01-01", "2026-01-06"), "by default, all of them"
    assert asked(run_partitions=2) == ("2026-01-05", "2026-01-06")
    assert asked(run_partitions=20) == ("2026-01-01", "2026-01-06")


@pytest.mark.usefixtures("alone")
def test_an_empty_partition_that_is_served_too_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = dg.DagsterInstance.ephemeral()
    computed(instance, NEXT, rows=0, version=3)
    served = {DAY: 5, NEXT: 3}
    monkeypatch.setattr(PostgresCopy, "versions", lambda *_: served)
    more = {"serve": PostgresCopy("t", ())}
    for nowhere_or_served in ({}, more):
        tells = tick({DAY: 5, NEXT: 3}, instance, **nowhere_or_served).skip_reason.skip_message
        assert tells == "compared 2 partitions: 0 differ"
    served[DAY] = 4
    (asked,) = tick({DAY: 5, NEXT: 3}, instance, **more).run_requests
    assert asked.tags[repair.RANGE_START] == DAY, "PostgreSQL has another version"


@pytest.mark.usefixtures("alone")
def test_the_event_log_is_asked_only_about_partitions_that_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long history that is not computed yet would be thousands of partitions in each tick."""
    instance, asked = dg.DagsterInstance.ephemeral(), list[set[str]]()
    real = compare.computed_empty

    def spy(log: dg.DagsterInstance, mart: Mart, keys: set[str]) -> dict[str, Computed]:
        asked.append(set(keys))
        return real(log, mart, keys)

    monkeypatch.setattr(compare, "computed_empty", spy)
    monkeypatch.setattr(PostgresCopy, "versions", lambda *_: {DAY: 5, NEXT: 3})
    new = "2026-01-03"
    (request,) = tick({DAY: 5, NEXT: 3, new: 1}, instance, serve=PostgresCopy("t", ())).run_requests
    assert asked == [{NEXT}], "the third one was never served"
    assert request.tags[repair.RANGE_END] == new
    assert request.tags[repair.RANGE_START] == NEXT, "the log lacks it: its rows in the lake are lost"
    tick({DAY: 5, new: 1}, instance)
    assert asked[1:] == [{new}], "a mart in the lake alone"


@pytest.mark.usefixtures("alone")
def test_a_mart_waits_while_one_that_it_reads_is_still_to_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    instance, pauses = dg.DagsterInstance.ephemeral(), dict[str, float]()
    monkeypatch.setattr(compare, "MartFailures", lambda *_: SimpleNamespace(pauses=lambda: pauses))
    found: dict[str, int] = {DAY: 5, NEXT: 1, "2026-01-03": 1}
    upstream: Mart = replace(REPORT, source=cast(Source, Numbers(found)))

    def tells() -> str:
        result = tick({DAY: 6}, instance, waits=compare.unsettled(upstream))
        return str(result.skip_reason.skip_message) if result.skip_reason else "requested"

    path = REPORT.table.path
    assert tells() == f"waiting: 2 partitions of {path} are still to be computed, {NEXT} first"
    pauses[NEXT] = 40.0
    assert tells() == f"waiting: 1 partitions of {path} are still to be computed, 2026-01-03 first"
    pauses["2026-01-03"] = 40.0
    assert tells() == "requested", "what backs off holds up no other mart"
    missing: Mart = replace(REPORT, source=cast(Source, Numbers(None)))
    assert compare.unsettled(missing)(Lake(Settings()), instance) == "nothing is there yet"


@pytest.mark.usefixtures("alone")
def test_a_partition_that_changes_all_the_time_holds_up_no_other_mart() -> None:
    instance = dg.DagsterInstance.ephemeral()
    waits = compare.unsettled(replace(REPORT, source=cast(Source, Numbers({DAY: 6}))))
    lake = Lake(Settings(mart_repair_seconds=60))
    assert str(waits(lake, instance)).endswith(f"{DAY} first")
    computed(instance, DAY, rows=1, version=5)
    assert waits(lake, instance) is None
