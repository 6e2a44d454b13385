"""A stream's run evaluates its stream's checks and logs the results with each report.

Dagster shows a result only if it belongs to the newest materialization or its run. A stream reports every minute, so the result
of another run would be hidden within a minute.
"""

from __future__ import annotations

import time

import dagster as dg

from shop_streams.settings import Settings
from shop_streams.streaming.checks import Look, alive_key, alive_result, evaluation, stream_checks
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.switch import location_of


class RunChecks:
    """The checks of a stream in its own run."""

    def __init__(self, context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings) -> None:
        self._context, self._spec, self._settings = context, spec, settings
        self._results: dict[dg.AssetCheckKey, tuple[float, dg.AssetCheckEvaluation]] = {}

    def log(self) -> None:
        """Evaluate the due checks and log their results. Log a result again if another run's result hides it."""
        look = Look(self._spec, self._settings, self._context.instance, location=location_of(self._context.run))
        for check in stream_checks(self._spec):
            known = self._results.get(check.key)
            due = known is None or time.monotonic() - known[0] >= check.every
            if due:
                self._results[check.key] = (time.monotonic(), evaluation(check.key, check.result(look)))
            _, result = self._results[check.key]
            if known and self._hidden(check.key):
                self._context.instance.report_runless_asset_event(result)
            elif due:
                self._context.log_event(result)  # type: ignore[arg-type]  # Dagster's annotation lacks this event

    def _hidden(self, key: dg.AssetCheckKey) -> bool:
        """Whether a newer run has evaluated the check: Dagster has one result row for each run and shows the newest run's."""
        newest = self._context.instance.get_latest_asset_check_evaluation_record(key)
        return newest is not None and newest.run_id != self._context.run_id


def log_alive(context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings) -> None:
    """Evaluate the check `alive` alone, without Kafka, and log its result."""
    found = Look(spec, settings, context.instance, ask_kafka=False, location=location_of(context.run)).condition()
    context.log_event(evaluation(alive_key(spec), alive_result(found)))  # type: ignore[arg-type]
