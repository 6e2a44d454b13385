"""A stream's run evaluates the checks of its stream, and logs their results with each report.

Dagster shows a result only while it belongs to the newest materialization, or to the run of that one. A stream reports each
minute, so another run's result would be hidden within a minute.
"""

from __future__ import annotations

import time

import dagster as dg

from shop_streams.settings import Settings
from shop_streams.streaming.checks import Look, evaluation, stream_checks
from shop_streams.streaming.spec import StreamSpec


class RunChecks:
    """The checks of a stream that its own run evaluates and logs."""

    def __init__(self, context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings) -> None:
        self._context, self._spec, self._settings = context, spec, settings
        self._results: dict[dg.AssetCheckKey, tuple[float, dg.AssetCheckEvaluation]] = {}

    def log(self) -> None:
        """Evaluate the checks that are due. Log their results, and those that another run's results hide."""
        look = Look(self._spec, self._settings, self._context.instance)
        for check in stream_checks(self._spec):
            known = self._results.get(check.key)
            due = known is None or time.monotonic() - known[0] >= check.every
            if due:
                self._results[check.key] = (time.monotonic(), evaluation(check.key, check.result(look)))
            _, result = self._results[check.key]
            if known and self._hidden(check.key):
                self._context.instance.report_runless_asset_event(result)
            elif due:
                self._context.log_event(result)  # type: ignore[arg-type]  # Dagster's annotation has not all that it logs

    def _hidden(self, key: dg.AssetCheckKey) -> bool:
        """Whether a newer run has evaluated the check: a run has one row of results, which would stay below the newer one."""
        newest = self._context.instance.get_latest_asset_check_evaluation_record(key)
        return newest is not None and newest.run_id != self._context.run_id
