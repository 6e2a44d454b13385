"""A stream's run evaluates its stream's checks and logs the results with each report.

Dagster shows a result only if it belongs to the newest materialization or its run. A stream reports every minute, so the result
of another run would be hidden within a minute.
"""

from __future__ import annotations

import time

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

from shop_streams.settings import Settings
from shop_streams.streaming.checks import Look, alive_key, alive_result, evaluation, stream_checks
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.switch import location_of

WITHOUT_RUN = ""  # the run of a result that was reported without one
COMING_SECONDS = 180.0


class RunChecks:
    """The checks of a stream in its own run."""

    def __init__(self, context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings) -> None:
        self._context, self._spec, self._settings = context, spec, settings
        self._results: dict[dg.AssetCheckKey, tuple[float, dg.AssetCheckEvaluation]] = {}

    def log(self) -> None:
        """Evaluate the due checks, and those that another run has evaluated, and log their results."""
        look = Look(self._spec, self._settings, self._context.instance, location=location_of(self._context.run))
        for check in stream_checks(self._spec):
            known = self._results.get(check.key)
            record = self._context.instance.get_latest_asset_check_evaluation_record(check.key) if known else None
            newest = record.run_id if record else self._context.run_id
            if record and newest != self._context.run_id and _is_coming(record):
                continue  # a result of ours would cover it
            of_another = newest not in (self._context.run_id, WITHOUT_RUN)  # ours is older: it must not come back
            due = known is None or of_another or time.monotonic() - known[0] >= check.every
            if due:
                self._results[check.key] = (time.monotonic(), evaluation(check.key, check.result(look)))
            _, result = self._results[check.key]
            # Dagster has one row for each run and shows the newest run's. Once there is one of another run, ours have no run.
            if newest != self._context.run_id:
                self._context.instance.report_runless_asset_event(result)
            elif due:
                self._context.log_event(result)  # type: ignore[arg-type]  # Dagster's annotation lacks this event


def _is_coming(record: AssetCheckExecutionRecord) -> bool:
    """Whether a run that has just been requested will write this result. One that was killed never does."""
    planned = record.status == AssetCheckExecutionRecordStatus.PLANNED
    return planned and abs(time.time() - record.create_timestamp) < COMING_SECONDS


def log_alive(context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings) -> None:
    """Evaluate the check `alive` alone, without Kafka, and log its result."""
    found = Look(spec, settings, context.instance, ask_kafka=False, location=location_of(context.run)).condition()
    context.log_event(evaluation(alive_key(spec), alive_result(found)))  # type: ignore[arg-type]
