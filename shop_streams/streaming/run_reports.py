"""The reports of a stream's run to Dagster: one every `report_seconds`, and one at its end."""

from __future__ import annotations

import time

import dagster as dg

from shop_streams.settings import Settings
from shop_streams.streaming.progress import BatchProgress, Reporter
from shop_streams.streaming.run_checks import RunChecks


class RunReports:
    """Stores what the reporter tells, a part at a time: thousands of partitions may have grown, and the next beat waits."""

    def __init__(
        self, context: dg.OpExecutionContext, reporter: Reporter, checks: RunChecks, settings: Settings
    ) -> None:
        self._context, self._reporter, self._checks, self._settings = context, reporter, checks, settings
        self._due: list[dg.AssetMaterialization] = []
        self._last = time.monotonic() - settings.report_seconds

    @property
    def are_due(self) -> bool:
        """Whether events of a report are not stored yet."""
        return bool(self._due)

    def report(self, newest: BatchProgress | None, lag: int | None) -> None:
        """Make a report if it is time for one, and store what fits between two beats; the checks follow the last event."""
        if not self._due and time.monotonic() - self._last < self._settings.report_seconds:
            return
        if not self._due:
            self._due = self._reporter.events(newest, lag)
            self._last = time.monotonic()
        self._store(self._settings.beat_seconds)
        if not self._due:
            self._checks.log()

    def finish(self, seconds: float) -> None:
        """Store what is due, and the partitions that have grown since: the next run takes them as reported.

        Their batch may have ended while the query was being stopped, so its number is not known.
        """
        self._store(seconds)
        if not self._due:
            self._due = self._reporter.grown({})
            self._store(seconds)

    def _store(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._due and time.monotonic() < until:  # an event that could not be stored stays due
            self._context.log_event(self._due[0])
            del self._due[0]
        list(self._context.consume_events())  # they are stored; the context would keep them until the run ends
