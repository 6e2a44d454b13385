"""What a stream's run reports: itself also when nothing arrives, and the results of its checks so that they stay shown."""

import time
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from confluent_kafka import KafkaError, KafkaException
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from shop_streams.definitions import defs
from shop_streams.defs.platform import checks as platform_checks
from shop_streams.defs.platform.checks import all_checks_schedule
from shop_streams.defs.sales.streams import INGEST
from shop_streams.settings import get_settings
from shop_streams.streaming import checks, progress, run_checks
from shop_streams.streaming.condition import Unread
from shop_streams.streaming.progress import BatchProgress, Reporter
from shop_streams.streaming.run_checks import RunChecks
from shop_streams.streaming.spec import stream_key
from shop_streams_tests.patching import replace_in

LAG = dg.AssetCheckKey(INGEST.output, "lag")


class Run:
    """A run's context; its instance keeps the newest result of each check as Dagster does: one row for each run."""

    def __init__(self) -> None:
        self.run_id = "ours"
        self.run = dg.DagsterRun("shop_events_ingest_stream")
        self.instance = self
        self.rows: list[tuple[str, dg.AssetCheckKey]] = []
        self.planned: set[str] = set()
        self.planned_at = 0.0
        self.logged: list[dg.AssetCheckEvaluation] = []

    def log_event(self, result: dg.AssetCheckEvaluation) -> None:
        self.logged.append(result)
        row = (self.run_id, result.asset_check_key)
        if row not in self.rows:
            self.rows.append(row)

    def report_runless_asset_event(self, result: dg.AssetCheckEvaluation) -> None:
        self.logged.append(result)
        self.rows.append(("", result.asset_check_key))

    def get_latest_asset_check_evaluation_record(self, key: dg.AssetCheckKey) -> Any:
        newest = [run_id for run_id, known in self.rows if known == key]
        if not newest:
            return None
        status = AssetCheckExecutionRecordStatus.PLANNED if newest[-1] in self.planned else None
        return SimpleNamespace(run_id=newest[-1], status=status, create_timestamp=self.planned_at)


class World:
    """A stream's surroundings: seconds on the clock, and what a look finds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = 0.0
        self.asked = self.accounts = 0
        self.unread: Unread | Exception = Unread(112, 14.2)
        self.run = Run()
        replace_in(monkeypatch, run_checks, time, monotonic=lambda: self.clock)
        monkeypatch.setattr(checks, "read_unread", self._read)
        monkeypatch.setattr(checks, "alive", lambda look: dg.AssetCheckResult(passed=True))
        monkeypatch.setattr(checks, "retention", lambda look: dg.AssetCheckResult(passed=True))
        monkeypatch.setattr(checks, "accounting", lambda look: self._account())
        monkeypatch.setattr(checks, "broker_time", lambda look: dg.AssetCheckResult(passed=True))
        self.checks = RunChecks(cast(dg.OpExecutionContext, self.run), INGEST, get_settings())

    def _read(self, *_: Any) -> Unread:
        self.asked += 1
        if isinstance(self.unread, Exception):
            raise self.unread
        return self.unread

    def _account(self) -> dg.AssetCheckResult:
        self.accounts += 1
        return dg.AssetCheckResult(passed=True, metadata={"number": self.accounts})

    def report(self, seconds: float = 60) -> list[str]:
        """The names of the checks whose results the next report logs."""
        self.clock += seconds
        self.run.logged.clear()
        self.checks.log()
        return [result.check_name for result in self.run.logged]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_each_report_looks_at_the_lag_and_four_an_hour_at_the_rest(world: World) -> None:
    began = time.time()
    every = ["alive", "lag", "retention", "broker_time", "accounting"]
    assert world.report() == every
    assert [world.report() for _ in range(14)] == [["alive", "lag"]] * 14
    assert world.report() == every
    assert world.asked == 16
    for result in world.run.logged:  # of a run's results Dagster shows the time of the first one
        assert isinstance(evaluated_at := result.metadata["evaluated_at"].value, float) and evaluated_at >= began


def test_a_result_that_another_run_hides_is_shown_again(world: World) -> None:
    world.report()
    world.run.rows.append(("of a person", dg.AssetCheckKey(INGEST.output, "accounting")))
    for _ in range(2):  # the next one too: the run's own row lies below for good
        assert world.report() == ["alive", "lag", "accounting"]
        # Not the result from before the other run: that one would cover a newer one, which may have failed.
        assert world.run.logged[-1].metadata["number"].value == 2
        assert world.run.get_latest_asset_check_evaluation_record(LAG).run_id == "ours"
    newest = world.run.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(INGEST.output, "accounting"))
    assert newest.run_id == ""


def test_a_result_that_another_run_is_about_to_write_is_not_covered(world: World) -> None:
    world.report()
    world.run.rows.append(("of a person", dg.AssetCheckKey(INGEST.output, "accounting")))
    world.run.planned = {"of a person"}
    world.run.planned_at = time.time()
    assert world.report() == ["alive", "lag"]
    world.run.planned_at -= 1000  # it was killed
    assert world.report() == ["alive", "lag", "accounting"]


def test_a_new_run_begins_with_its_own_results(world: World) -> None:
    world.run.rows.append(("earlier run", LAG))
    world.report()
    assert world.run.get_latest_asset_check_evaluation_record(LAG).run_id == "ours"


# unread, setting; passed, words
LAGS: dict[str, tuple[Unread, dict[str, Any], bool, str]] = {
    "little": (Unread(112, 14.2), {}, True, "112 records = 14 s behind"),
    "old": (Unread(1, 301), {}, False, "1 record = 5 min behind"),
    "many, but young": (Unread(5_000_000, 20), {}, True, "5,000,000 records = 20 s behind"),
    "more than someone allows": (Unread(11, 1), {"lag_alarm_offsets": 10}, False, "11 records = 1 s behind"),
    "older than someone allows": (Unread(1, 11), {"lag_alarm_seconds": 10}, False, "1 record = 11 s behind"),
}


@pytest.mark.parametrize("case", LAGS)
def test_the_lag_alarm_speaks_of_time(world: World, case: str) -> None:
    world.unread, given, passed, words = LAGS[case]
    settings = get_settings().model_copy(update=given)
    result = checks.lag(checks.Look(INGEST, settings, cast(dg.DagsterInstance, world.run)))
    assert (result.passed, result.description) == (passed, words)


def test_a_check_that_can_not_look_fails_in_words_and_asks_once(world: World) -> None:
    world.unread = KafkaException(KafkaError(KafkaError._TRANSPORT))
    world.report()
    (lag,) = [result for result in world.run.logged if result.check_name == "lag"]
    assert not lag.passed and "transport" in str(lag.description)
    assert world.asked == 1


def test_an_unexpected_error_of_a_check_is_its_result_and_ends_no_stream(world: World) -> None:
    world.unread = KeyError("retention.ms")
    world.report()
    (lag,) = [result for result in world.run.logged if result.check_name == "lag"]
    assert not lag.passed and lag.description == "KeyError: 'retention.ms'"


BATCH = BatchProgress(7, {"0": 12}, 2.5, 4.5, 900, 12)


def test_a_stream_reports_also_when_nothing_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"2025-01-01": 5}
    monkeypatch.setattr(progress.reader, "row_counts", lambda uri, _: {"sales": 3} if "dead" in uri else dict(counts))
    reporter = Reporter(INGEST, get_settings(), "run-a")
    reporter.start()
    counts["2025-01-02"] = 12
    first = reporter.events(BATCH, 0)
    assert [(event.asset_key, event.partition) for event in first] == [
        (stream_key(INGEST), None), (INGEST.output, "2025-01-02"),
    ]  # fmt: skip
    assert first[0].metadata["input_rows_per_second"].value == 2.5
    (idle,) = reporter.events(BATCH, 0)
    assert idle.asset_key == stream_key(INGEST)
    numbers = {name: value.value for name, value in idle.metadata.items()}
    assert numbers == {
        "consumer_lag": 0, "dead_letters": 3, "run": "run-a",
        "input_rows_per_second": 0.0, "processed_rows_per_second": 0.0, "batch_rows": 0,
    }  # fmt: skip
    (busy,) = reporter.events(BATCH, 9)  # a batch that takes longer than a minute
    assert set(busy.metadata) == {"consumer_lag", "dead_letters", "run"}


def test_the_schedule_leaves_a_running_streams_checks_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    running = SimpleNamespace(fresh=lambda _ttl: True)
    waits = ["", "waiting: stream b has no fresh lease"]
    monkeypatch.setattr(platform_checks, "Leases", lambda _dsn: SimpleNamespace(read=lambda: {INGEST.name: running}))
    monkeypatch.setattr(platform_checks, "streams_first_now", lambda _context, _settings: waits.pop())
    context = dg.build_schedule_context(
        repository_def=defs.get_repository_def(), resources={"settings": get_settings()}
    )
    assert all_checks_schedule(context) == dg.SkipReason("waiting: stream b has no fresh lease")
    request = cast(dg.RunRequest, all_checks_schedule(context))
    asked = set(request.asset_check_keys or ())
    assert not asked & {check.key for check in checks.stream_checks(INGEST)}
    assert dg.AssetCheckKey(dg.AssetKey(["app_events", "events"]), "lag") in asked
    assert dg.AssetCheckKey(dg.AssetKey(["sales", "hourly_metrics"]), "parity_with_stream") in asked
