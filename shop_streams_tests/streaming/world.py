"""Everything around a stream's run, without a server: tests let it meet what they like."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from shop_streams.defs.sales.streams import INGEST
from shop_streams.settings import get_settings
from shop_streams.streaming import failure, run, run_end
from shop_streams.streaming.run import run_stream
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.switch import LOCATION, SENSOR_TAG, keep_alive_name

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
IDLE = {"isTriggerActive": False}
FINISHED_AT_ONCE = SimpleNamespace(isActive=True, lastProgress=None, status=IDLE)


class World:
    """Everything around a run; `problem` is what its query meets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.problem: BaseException | None = None
        self.rests = False
        self.beats = 0  # so many until the stack is stopped; 0 for no end
        self.sound = False
        self.database: Exception | None = None
        self.run: dg.DagsterRun | None = dg.DagsterRun(
            "shop_events_ingest_stream", status=STARTED, tags={SENSOR_TAG: keep_alive_name(INGEST.name)}
        )
        self.stopped: list[bool] = []  # at a batch boundary?
        self.released = self.kept = False
        self.topic = "cluster/topic"
        self.waiting: int | None = 0
        self.noted = ""
        self.failures = 0
        self.said: list[str] = []
        self.settings = get_settings().model_copy(update={"lease_seconds": 0.2, "beat_seconds": 0.01})
        instance = SimpleNamespace(get_run_by_id=lambda _id: self.run, all_instigator_state=self._switches)
        self.context = SimpleNamespace(
            instance=instance,
            run=self.run,
            run_id="run",
            log=SimpleNamespace(info=self.said.append),
            log_event=print,
            consume_events=list,
        )
        for module in (run, failure):
            monkeypatch.setattr(module, "Leases", lambda *_: self)
        monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)  # a terminated run changes it
        monkeypatch.setattr(run_end, "RestRequest", SimpleNamespace(of=lambda _settings: self))
        monkeypatch.setattr(run, "wait_for_spark", lambda _settings: None)
        monkeypatch.setattr(run, "probe_spark", lambda _settings: None)
        monkeypatch.setattr(run, "due", lambda *_: None)
        monkeypatch.setattr(run, "start_in_turn", self._start)
        monkeypatch.setattr(run, "topic_identity", lambda *_: self.topic)
        monkeypatch.setattr(run, "consumer_lag", lambda *_: self.waiting)
        monkeypatch.setattr(run, "stop_queries", self._stop)
        self.checks_logged: list[str] = []
        self.switched_off = False
        self.ticked_at: float | None = time.time()
        monkeypatch.setattr(run, "RunChecks", lambda *_: SimpleNamespace(log=self._log_checks))
        monkeypatch.setattr(failure, "log_alive", lambda *_: self.checks_logged.append("failed"))
        self.report: list[Any] = []  # the events of the first report
        self.last_report: list[Any] = []  # what has grown after it, when the query has stopped
        monkeypatch.setattr(
            run, "Reporter", lambda *_: SimpleNamespace(start=print, events=self._events, grown=self._grown)
        )

    def execute(self, spec: StreamSpec = INGEST) -> None:
        run_stream(cast(dg.OpExecutionContext, self.context), spec, self.settings, lambda: None)

    @contextmanager
    def hold(self, *_: Any) -> Iterator[Any]:
        try:
            yield self
        finally:
            self.released = True

    @contextmanager
    def beating(self, *_: Any) -> Iterator[None]:
        self.kept = True
        try:
            yield
        finally:
            self.kept = False

    def beat(self, _lag: int | None, _progress: Any, sound: bool) -> None:
        if self.problem:
            raise self.problem
        self.sound = sound
        self.beats -= 1
        self.rests = self.rests or self.beats == 0

    def read(self) -> dict[str, Any]:
        return {INGEST.name: SimpleNamespace(failures=self.failures)}

    def made(self) -> bool:
        return self.rests

    def record_problem(self, _stream: str, _run_id: str, problem: str) -> None:
        self.noted = problem

    def _events(self, *_: Any) -> list[Any]:
        report, self.report = self.report, []
        return report

    def _grown(self, _batch: Any) -> list[Any]:
        assert self.stopped and self.released
        return self.last_report

    def _log_checks(self) -> None:
        self.checks_logged.append("at rest" if self.released else "running")

    epoch = 1

    def _switches(self) -> list[Any]:
        if self.database:
            raise self.database
        data = SimpleNamespace(last_tick_success_timestamp=self.ticked_at)
        state = {
            "instigator_name": keep_alive_name(INGEST.name),
            "is_running": not self.switched_off,
            "instigator_data": data,
        }
        return [SimpleNamespace(**state, origin=SimpleNamespace(location_name=LOCATION))]

    def _start(self, *_: Any) -> Any:
        return FINISHED_AT_ONCE

    def _stop(self, _spark: Any, _probe: Any, at_boundary: bool) -> None:
        assert not self.released  # nobody may begin before
        self.stopped.append(at_boundary)
