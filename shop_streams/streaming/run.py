"""The long-lived op: take the lease, start the query, beat, report, and stop cleanly.

It never restarts anything itself: it fails loudly, and the keep-alive sensor decides what comes next.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import dagster as dg
from confluent_kafka import KafkaException
from dagster import DagsterExecutionInterruptedError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from tenacity import retry, retry_if_exception, stop_after_delay

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import topic_identity
from shop_streams.lake.table import SchemaMismatch
from shop_streams.settings import Settings
from shop_streams.streaming import identity, records
from shop_streams.streaming.checkpoint import CheckpointMetadata, CheckpointMismatch, committed_offsets, planned_batch
from shop_streams.streaming.lease import HeldLease, LeaseHeld, Leases, Superseded
from shop_streams.streaming.narrowing import Narrowing, due, leave_out, narrow
from shop_streams.streaming.patience import DATABASE_ERRORS, DatabaseAway, Patience, wait_until_it_answers
from shop_streams.streaming.priority import TURN_SECONDS, turn_to_start
from shop_streams.streaming.progress import BatchProgress, Reporter, consumer_lag
from shop_streams.streaming.query import STOP_SECONDS, SparkGone, probe_spark, stop_queries, wait_for_spark
from shop_streams.streaming.rest import BEING_STOPPED, RestRequest
from shop_streams.streaming.run_checks import RunChecks
from shop_streams.streaming.spec import Sidecar, StreamContext, StreamSpec
from shop_streams.streaming.switch import KeepAliveSwitch

START_SECONDS = 120.0
REPORT_SECONDS = 60.0  # a report reads the topic and, four times an hour, the lake
NARROW_SECONDS = 1800.0  # a start that narrows a batch down reads it many times, and must keep its lease meanwhile
ASK_SECONDS = 2.0
TOLD_SECONDS = 600.0
PROBLEM_CHARACTERS = 2000
BEATS_TO_LOOK_FOR_THE_RUN = 3


def run_stream(
    context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings, spark_of: Callable[[], Any]
) -> None:
    """Run `spec` until somebody terminates the run, its keep-alive sensor is switched off, the stack is stopped, or it fails.

    `spark_of()` opens the Spark session.

    Raises:
        dg.Failure: whatever went wrong, with the next step. The query is stopped by then.
    """
    with _failing_with_advice(context, spec, settings):
        StreamRun(context, spec, settings, spark_of).run()


def start_query(
    spec: StreamSpec, settings: Settings, spark: SparkSession, say: Callable[[str], None] = print, **trigger: Any
) -> Any:
    """Prepare the sink and start the query on its checkpoint. `trigger` as in `DataStreamWriter.trigger`."""
    stream = StreamContext(spark, settings, spec.name, spec.topic.name, spec.checkpoint(settings))
    metadata = CheckpointMetadata(spark, stream.checkpoint)
    known = Narrowing(settings.postgres)
    if metadata.find(identity.NOTE) is None:  # a new checkpoint
        known.forget(spec.name)
    metadata.require_unchanged(spec.fixed_settings(settings))
    earliest = identity.require_unchanged(
        metadata, settings.kafka, spec.topic.name, committed_offsets(stream.checkpoint, spec.topic.name)
    )
    spec.sink.prepare(stream)
    narrow(spec, stream, earliest, say)
    return begin_query(spec, stream, known.poisoned(spec.name), **trigger)


def begin_query(
    spec: StreamSpec, stream: StreamContext, poisoned: Sequence[tuple[int, int]] = (), **trigger: Any
) -> Any:
    """Start the query on its checkpoint, without the records at `poisoned`, each a (partition, offset)."""
    source = records.read_stream(
        stream.spark, stream.settings.kafka, stream.topic, spec.max_offsets(stream.settings), spec.record_columns
    )
    return (
        spec.sink.writer(leave_out(source, poisoned), stream)
        .queryName(spec.name)
        .option("checkpointLocation", stream.checkpoint)
        .trigger(**trigger)
        .start()
    )


@retry(
    # Spark waits 10 s for the Python worker of a foreachBatch to call back: too short on a machine that is busy starting.
    retry=retry_if_exception(lambda error: isinstance(error, PySparkException) and "connect back" in str(error)),
    stop=stop_after_delay(START_SECONDS),
    reraise=True,
)
def _start(spec: StreamSpec, settings: Settings, spark: SparkSession, say: Callable[[str], None]) -> Any:
    with turn_to_start(settings.postgres, settings.spark):
        return start_query(spec, settings, spark, say, processingTime=f"{spec.interval_seconds(settings)} seconds")


class StreamRun:
    """One run of a stream: it holds the lease, owns the query, beats and reports."""

    def __init__(
        self, context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings, spark_of: Callable[[], Any]
    ) -> None:
        self._context = context
        self._spec = spec
        self._settings = settings
        self._spark_of = spark_of
        self._switch = KeepAliveSwitch(context.instance, spec, context.run)
        self._rest_request = RestRequest.of(settings)
        self._sample: BatchProgress | None = None
        self._ends: dict[str, int] = {}
        self._checks = RunChecks(context, spec, settings)
        self._due: list[dg.AssetMaterialization] = []
        self._last_report = time.monotonic() - settings.report_seconds
        self._beats = 0
        self._identity: str | None = None

    def run(self) -> None:
        """Take the lease, start the query and watch it. The query is stopped on every way out."""
        spec, settings = self._spec, self._settings
        with Leases(settings.postgres).hold(
            spec.name, self._context.run_id, settings.lease_seconds, self._say
        ) as lease:
            if self._rest_request.made():
                self._say(BEING_STOPPED)
                return
            with lease.beating(settings.beat_seconds, START_SECONDS):  # a cold server takes its time
                wait_for_spark(settings)
                spark = self._spark_of()
            with self._stopping_queries(spark, lease):
                narrows = due(spec, settings) is not None
                with lease.beating(settings.beat_seconds, NARROW_SECONDS if narrows else TURN_SECONDS + START_SECONDS):
                    query = _start(spec, settings, spark, self._say)
                    self._identity = topic_identity(settings.kafka, spec.topic.name)
                with spec.sidecar.run(settings, spec.name, lease.epoch) if spec.sidecar else nullcontext() as sidecar:
                    self._watch(query, lease, sidecar)
        with suppress(*DATABASE_ERRORS):
            if not self._rest_request.made():
                self._checks.log()  # who was switched off says so itself

    @contextmanager
    def _stopping_queries(self, spark: SparkSession, lease: HeldLease) -> Iterator[None]:
        """Stop the query when the block ends, however it ends: at a batch boundary, unless a newer run took over."""
        superseded = False
        try:
            yield
        except Superseded:
            superseded = True
            raise
        finally:
            with lease.beating(self._settings.beat_seconds, STOP_SECONDS):
                problem = stop_queries(spark, lambda: probe_spark(self._settings), at_boundary=not superseded)
            if problem:
                self._say(f"the query could not be stopped: {problem}")

    def _watch(self, query: Any, lease: HeldLease, sidecar: Sidecar | None) -> None:
        """Beat and report until there is a reason to rest."""
        settings = self._settings
        reporter = Reporter(self._spec, settings, self._context.run_id, sidecar)
        reporter.start()
        patience = Patience(settings.lease_seconds, self._print)
        while True:
            probe_spark(settings)
            lag = self._look_at(query)
            if sidecar is not None:
                sidecar.check()
            reason = None
            with patience():  # what talks to PostgreSQL, the beat first
                batch = self._sample.batch_id if self._sample else None
                progress = {"end_offsets": self._ends, "batch_id": batch, "topic_identity": self._identity}
                lease.beat(lag, progress)
                self._require_run()
                self._report(reporter, lag, lease)
                reason = self._reason_to_rest()
            if reason:
                self._say(reason)
                return
            time.sleep(settings.beat_seconds)

    def _look_at(self, query: Any) -> int | None:
        """Take in what the query has done; its lag in offsets, None while the broker or the first batch is missing."""
        if not query.isActive:
            self._require_topic()  # Spark's own words for a topic that is gone say nothing of what to do
            problem = query.exception()
            self._count_failure()
            raise QueryEnded(str(problem) if problem else "the query was stopped from outside of its run")
        topic = self._spec.topic.name
        newest = BatchProgress.of(query.lastProgress, topic)
        if newest is not None and (self._sample is None or newest.num_input_rows):  # Spark reports idle moments too
            self._sample = newest
        self._ends = (newest.end_offsets if newest else {}) or self._ends
        if self._beats % BEATS_TO_LOOK_FOR_THE_RUN == 0:
            self._require_topic()
        return consumer_lag(self._settings.kafka, topic, self._ends) if self._ends else None

    def _count_failure(self) -> None:
        """A batch that fails again and again is narrowed down at a later start."""
        batch = planned_batch(self._spec.checkpoint(self._settings), self._spec.topic.name)
        if batch is not None:
            with suppress(*DATABASE_ERRORS):
                times = Narrowing(self._settings.postgres).count(self._spec.name, batch.batch_id)
                self._say(f"batch {batch.batch_id} has failed {times} times")

    def _require_topic(self) -> None:
        """Fail when the topic was made again, or the cluster is another one, while the query goes on from its old offsets."""
        if self._identity is None:
            return
        topic = self._spec.topic.name
        with suppress(KafkaException):  # a broker that is away is waited for
            identity.require_same(topic, self._identity, topic_identity(self._settings.kafka, topic, ASK_SECONDS))

    def _require_run(self) -> None:
        """End, as if terminated, when Dagster knows the run no more or calls it finished: nobody could stop it in the UI.

        Dagster then leaves the run's status as it is.
        """
        self._beats += 1
        if self._beats % BEATS_TO_LOOK_FOR_THE_RUN:
            return
        run = self._context.instance.get_run_by_id(self._context.run_id)
        if run is None or run.is_finished:
            state = "was deleted" if run is None else f"is {run.status.value} for Dagster"
            raise DagsterExecutionInterruptedError(f"run {self._context.run_id} {state}: it stops at a batch boundary")

    def _report(self, reporter: Reporter, lag: int | None, lease: HeldLease) -> None:
        if not self._due and time.monotonic() - self._last_report < self._settings.report_seconds:
            return
        with lease.beating(self._settings.beat_seconds, REPORT_SECONDS):
            if not self._due:
                self._due = reporter.events(self._sample, lag)
                self._last_report = time.monotonic()
            while self._due:  # one that Dagster's storage did not take stays due
                self._context.log_event(self._due[0])
                del self._due[0]
            self._checks.log()
            for _ in self._context.consume_events():  # they are stored; the context would keep each until the run ends
                pass

    def _reason_to_rest(self) -> str | None:
        if self._rest_request.made():
            return BEING_STOPPED
        return f"{self._switch.name} was switched off: the stream rests" if self._switch.turned_off() else None

    def _say(self, text: str) -> None:
        try:
            self._context.log.info(text)
        except DATABASE_ERRORS:  # the log is in PostgreSQL too
            self._print(text)

    def _print(self, text: str) -> None:
        print(f"{self._spec.name}: {text}", file=sys.stderr, flush=True)


class QueryEnded(Exception):
    """The streaming query is no longer active."""


@contextmanager
def _failing_with_advice(context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings) -> Iterator[None]:
    """SequenceLock what can go wrong into a `dg.Failure` that says what happened and what to do next."""
    advice: dict[type[Exception], str] = {
        LeaseHeld: "Nothing to do: the stream runs elsewhere. Terminate that run first if you want this one.",
        Superseded: "Nothing to do: a newer run took over while this one was paused.",
        SparkGone: "The sensor starts the stream again once Spark is back. `shop-streams status` tells its state.",
        QueryEnded: f"Read the cause above. The checkpoint is {spec.checkpoint(settings)}; the sensor tries again.",
        CheckpointMismatch: "Read the two ways out above; the sensor tries again.",
        SchemaMismatch: "Read the way out above; the sensor tries again.",
        ShopStreamsError: "Read the way out above; the sensor tries again.",
        PySparkException: "Read the cause above; see logs/spark.log in the home folder. The sensor tries again.",
        KafkaException: "The broker did not answer, or refused: see logs/kafka.log in the home folder. The sensor tries again.",
        DatabaseAway: "PostgreSQL holds the leases and Dagster's records: see logs/postgres.log in the home folder. "
        "The sensor starts the stream again once it is back.",
        **dict.fromkeys(
            DATABASE_ERRORS,
            "PostgreSQL did not answer, or refused: see logs/postgres.log in the home folder. The sensor tries again.",
        ),
        Exception: "Nobody has foreseen this. Read the cause above and logs/dagster_code_server.log in the home folder; "
        "the sensor tries again.",
    }
    try:
        yield
    except dg.Failure:
        raise
    except Exception as error:  # whatever it is: a run that ends without advice leaves its reader alone
        next_step = next(text for kind, text in advice.items() if isinstance(error, kind))
        # Dagster writes the failure down, so it must be there again: otherwise the run would end without a word.
        wait_until_it_answers(lambda: context.instance.get_run_by_id(context.run_id), TOLD_SECONDS)
        with suppress(*DATABASE_ERRORS):
            Leases(settings.postgres).note_problem(
                spec.name, context.run_id, f"{str(error).rstrip('.')}. {next_step}"[:PROBLEM_CHARACTERS]
            )
        raise dg.Failure(
            description=f"{spec.name}: {error}",
            metadata={
                "cause": type(error).__name__,
                "next_step": next_step,
                "topic": spec.topic.name,
                "checkpoint": spec.checkpoint(settings),
            },
            allow_retries=False,
        ) from error
