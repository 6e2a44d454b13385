"""The long-lived op: acquire the lease, start the query, beat, report, and stop cleanly.

It restarts nothing: it fails, and the keep-alive sensor decides about the next run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import dagster as dg
from confluent_kafka import KafkaException
from pyspark.sql import SparkSession

from shop_streams.settings import Settings
from shop_streams.streaming import identity
from shop_streams.streaming.batch_failures import BatchFailures, failures_of
from shop_streams.streaming.checkpoint import planned_batch
from shop_streams.streaming.failure import failing_with_advice
from shop_streams.streaming.identity import topic_identity
from shop_streams.streaming.lease import HeldLease, Leases, Superseded
from shop_streams.streaming.narrowing import due
from shop_streams.streaming.patience import DATABASE_ERRORS, Patience
from shop_streams.streaming.progress import BatchProgress, Reporter, consumer_lag
from shop_streams.streaming.query import (
    CALL_SECONDS,
    CLOSE_SECONDS,
    SPARK_WAIT_SECONDS,
    STOP_SECONDS,
    QueryEnded,
    QueryState,
    in_plain_words,
    look_at,
    probe_spark,
    stop_queries,
    wait_for_spark,
    within,
)
from shop_streams.streaming.rest import BEING_STOPPED
from shop_streams.streaming.run_checks import RunChecks
from shop_streams.streaming.run_end import RunEnd
from shop_streams.streaming.run_reports import RunReports
from shop_streams.streaming.spec import Sidecar, StreamSpec
from shop_streams.streaming.stall import QueryStalled, StallWatch, stalled
from shop_streams.streaming.start import START_SECONDS, require_kafka, start_in_turn, start_limit

LOOP_SECONDS = 300.0  # one pass of the loop, which may read the topic and the lake; a longer pass loses the lease
ASK_SECONDS = 2.0
BEATS_BETWEEN_CHECKS = 3  # of the topic's identity and of the run's status

SparkOf = Callable[[], Any]


def run_stream(context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings, spark_of: SparkOf) -> None:
    """Run the stream until the run is terminated, its sensor is switched off, the stack is stopped, `run_hours` are over, or an
    error occurs.

    `spark_of()` opens the Spark session.

    Raises:
        dg.Failure: any error, with the next step. The query is stopped by then.
    """
    with failing_with_advice(context, spec, settings):
        StreamRun(context, spec, settings, spark_of).run()


class StreamRun:
    """One run of a stream."""

    def __init__(self, context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings, spark_of: SparkOf) -> None:
        self._context = context
        self._spec = spec
        self._settings = settings
        self._spark_of = spark_of
        self._end = RunEnd(context, spec, settings)
        self._last_batch: BatchProgress | None = None
        self._ends: dict[str, int] = {}
        self._checks = RunChecks(context, spec, settings)
        self._reports: RunReports | None = None
        self._beats = 0
        self._identity: str | None = None
        self._failures = 0  # runs in a row that failed before this one

    def run(self) -> None:
        """Acquire the lease, start the query and watch it. The query is stopped on every exit."""
        spec, settings = self._spec, self._settings
        with Leases(settings.postgres, settings.home).hold(
            spec.name, self._context.run_id, settings.lease_seconds, self._say
        ) as lease:
            if self._end.stack_stops():
                self._say(BEING_STOPPED)
                return
            self._failures = Leases(settings.postgres).read()[spec.name].failures
            with lease.beating(settings.beat_seconds, SPARK_WAIT_SECONDS + START_SECONDS):  # a cold server is slow
                require_kafka(spec, settings)
                wait_for_spark(settings)
                spark = within(START_SECONDS, self._spark_of)
            with self._stopping_queries(spark, lease):
                limit = start_limit(self._failures, narrows=due(spec, settings) is not None)
                with lease.beating(settings.beat_seconds, limit):
                    query = within(limit, lambda: start_in_turn(spec, settings, spark, self._say))
                    self._identity = topic_identity(settings.kafka, spec.topic.name)
                with self._sidecar(lease) as sidecar:
                    self._watch(query, lease, sidecar)
        with suppress(*DATABASE_ERRORS):
            if self._reports is not None:
                self._reports.finish(LOOP_SECONDS)
            if self._end.rests():
                self._checks.log()  # so that `alive` says that the stream was switched off

    @contextmanager
    def _sidecar(self, lease: HeldLease) -> Iterator[Sidecar | None]:
        """The stream's sidecar, if it has one. Its threads may need longer than a lease to end."""
        with ExitStack() as stack:
            sidecar = self._spec.sidecar
            running = (
                stack.enter_context(sidecar.run(self._settings, self._spec.name, lease.epoch)) if sidecar else None
            )
            try:
                yield running
            finally:
                with lease.beating(self._settings.beat_seconds, LOOP_SECONDS):
                    stack.close()

    @contextmanager
    def _stopping_queries(self, spark: SparkSession, lease: HeldLease) -> Iterator[None]:
        """Stop the query when the block ends: at a batch boundary, unless the query stalled or another run has the lease."""
        at_boundary = True
        try:
            yield
        except (Superseded, QueryStalled):
            at_boundary = False
            raise
        finally:
            with lease.beating(self._settings.beat_seconds, STOP_SECONDS + CLOSE_SECONDS):
                problem = stop_queries(spark, lambda: probe_spark(self._settings), at_boundary)
            if problem:
                self._say(f"the query could not be stopped: {problem}")

    def _watch(self, query: Any, lease: HeldLease, sidecar: Sidecar | None) -> None:
        """Beat and report until the run should end.

        Raises:
            QueryStalled: records wait, and no batch has committed for too long.
        """
        spec, settings = self._spec, self._settings
        reporter = Reporter(spec, settings, self._context.run_id, sidecar)
        with lease.beating(settings.beat_seconds, LOOP_SECONDS):
            reporter.start()
        reports = self._reports = RunReports(self._context, reporter, self._checks, settings)
        patience = Patience(settings.lease_seconds, self._print)
        watch = StallWatch()
        # Nothing commits between two triggers. A batch that is only slow gets twice the time after each failure.
        limit = settings.stall_seconds * 2 ** min(self._failures, 5) + spec.interval_seconds(settings)
        while True:
            with lease.beating(settings.beat_seconds, LOOP_SECONDS):  # Kafka, Spark and the lake may answer slowly
                probe_spark(settings)
                look = within(CALL_SECONDS, lambda: look_at(query))
                newest = self._keep(look)
                waiting = consumer_lag(settings.kafka, spec.topic.name, self._ends)
                lag = waiting if self._ends else None
                if sidecar is not None:
                    sidecar.check()
                stood_still = watch.stood_still(newest.batch_id if newest else None, self._ends, waiting, look.in_batch)
                reason = None
                with patience():  # everything that uses PostgreSQL, the beat first
                    lease.beat(lag, self._progress(), watch.sound)
                    self._require_run()
                    reports.report(self._last_batch, lag)
                    reason = self._end.reason(look.in_batch or reports.are_due)
            if reason:
                self._say(reason)
                return
            if stood_still > limit:
                raise stalled(spec, settings, stood_still, waiting)
            time.sleep(settings.beat_seconds)

    def _keep(self, look: QueryState) -> BatchProgress | None:
        """Store the query's newest progress and return it (None before the first batch); raise the error of an ended query."""
        if look.ended is not None:
            probe_spark(self._settings)
            self._require_topic()  # its message is clearer than Spark's for a deleted topic
            error = in_plain_words(QueryEnded(look.ended), self._settings, self._spec.topic.name)
            if isinstance(error, QueryEnded):  # the batch did not fail if the server is gone
                self._count_failure()
            raise error
        newest = BatchProgress.of(look.progress, self._spec.topic.name)
        if newest is not None and (newest.num_input_rows or self._last_batch is None):  # not a report of idle time
            self._last_batch = newest
        self._ends = (newest.end_offsets if newest else {}) or self._ends
        if self._beats % BEATS_BETWEEN_CHECKS == 0:
            self._require_topic()
        return newest

    def _progress(self) -> dict[str, Any] | None:
        """The progress for the lease; None before the first batch, so that the last run's progress stays."""
        if not self._ends:
            return None
        batch_id = self._last_batch.batch_id if self._last_batch else None
        return {"end_offsets": self._ends, "batch_id": batch_id, "topic_identity": self._identity}

    def _count_failure(self) -> None:
        """Count the failure of the batch; after several, the next start narrows it."""
        batch = planned_batch(self._spec.checkpoint(self._settings), self._spec.topic.name)
        if batch is not None:
            with suppress(*DATABASE_ERRORS):
                key = failures_of(self._spec.name, self._spec.checkpoint(self._settings))
                times = BatchFailures(self._settings.postgres).count(key, batch.batch_id)
                self._say(f"batch {batch.batch_id} has failed {times} times")

    def _require_topic(self) -> None:
        """Fail if the topic was created again, or the cluster is another one, while the query runs."""
        if self._identity is None:
            return
        topic = self._spec.topic.name
        with suppress(KafkaException):  # a broker that is down is waited for
            found = topic_identity(self._settings.kafka, topic, ASK_SECONDS)
            identity.require_same(topic, self._identity, found, identity.way_out(self._spec.name))

    def _require_run(self) -> None:
        """End, as if terminated, if Dagster has deleted the run or marked it as finished: the UI could not stop it any more.

        Dagster keeps the run's status then.
        """
        self._beats += 1
        if self._beats % BEATS_BETWEEN_CHECKS:
            return
        run = self._context.instance.get_run_by_id(self._context.run_id)
        if run is None or run.is_finished:
            state = "was deleted" if run is None else f"is {run.status.value} for Dagster"
            raise dg.DagsterExecutionInterruptedError(
                f"run {self._context.run_id} {state}: it stops at a batch boundary"
            )

    def _say(self, text: str) -> None:
        try:
            self._context.log.info(text)
        except DATABASE_ERRORS:  # the log is in PostgreSQL too
            self._print(text)

    def _print(self, text: str) -> None:
        print(f"{self._spec.name}: {text}", file=sys.stderr, flush=True)
