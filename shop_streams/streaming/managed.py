"""The long-lived op: take the lease, start the query, beat, report, and stop cleanly.

It never restarts anything itself: it fails loudly, and the keep-alive sensor decides what comes next.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import dagster as dg
import psycopg2
from confluent_kafka import KafkaException
from dagster import DagsterExecutionInterruptedError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from tenacity import (
    RetryError,
    Retrying,
    retry,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from shop_streams.errors import ShopStreamsError
from shop_streams.lake.table import SchemaMismatch
from shop_streams.settings import Settings
from shop_streams.streaming import records
from shop_streams.streaming.checkpoint import CheckpointMismatch, CheckpointNotes
from shop_streams.streaming.lease import LeaseHeld, Leases, Superseded
from shop_streams.streaming.progress import Reporter, Sample, consumer_lag
from shop_streams.streaming.spec import Companion, StreamContext, StreamSpec
from shop_streams.streaming.switch import KeepAliveSwitch

SPARK_WAIT_SECONDS = 45.0
START_SECONDS = 120.0
STOP_SECONDS = 20.0
PROBE_SECONDS = 2.0


class SparkGone(Exception):
    """Spark's server does not answer."""


def probe_spark(settings: Settings) -> None:
    """Fail within seconds when the server is down: Spark Connect's own client would retry for minutes."""
    host, port = settings.spark_address
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise SparkGone(f"no Spark server answers at {host}:{port}: {error}") from error


def run_stream(context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings, spark_of: Any) -> None:
    """Run `spec` until somebody terminates the run, its keep-alive sensor is switched off, or it fails.

    `spark_of()` opens the Spark session.

    Raises:
        dg.Failure: the query failed, Spark or PostgreSQL went away, or the lease is not ours; with the next step.
    """
    leases = Leases(settings.postgres)
    with _failing_with_advice(spec, settings):
        epoch = leases.acquire(spec.name, context.run_id, os.getpid(), socket.gethostname(), settings.lease_seconds)
        context.log.info(f"lease taken: epoch {epoch}")
        try:
            with _beating(leases, spec, settings, epoch):
                _wait_for_spark(settings)
                query = _start(spec, settings, spark_of())
            try:
                with spec.beside.run(settings, spec.name, epoch) if spec.beside else nullcontext() as companion:
                    _watch(context, spec, settings, query, leases, epoch, companion)
            except DagsterExecutionInterruptedError:
                context.log.info("terminated: stopping at a batch boundary")
                stop_at_batch_boundary(query)
                raise
            except (Superseded, ShopStreamsError, KafkaException):  # a newer run took over, or the companion has ended
                query.stop()  # ours only: a newer run of the same checkpoint has a query of its own
                raise
        finally:
            _release(context, leases, spec, epoch)


@contextmanager
def _beating(leases: Leases, spec: StreamSpec, settings: Settings, epoch: int) -> Iterator[None]:
    """Beat from a thread while the query starts, for at most `START_SECONDS`: a cold server takes its time.

    Nobody may take the stream over meanwhile; a start that hangs longer loses its lease.
    """
    over = threading.Event()

    def beat() -> None:
        deadline = time.monotonic() + START_SECONDS
        while not over.wait(settings.beat_seconds) and time.monotonic() < deadline:
            with suppress(psycopg2.OperationalError, Superseded):  # the watch beats next, and says so
                leases.beat(spec.name, epoch, None, {})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _wait_for_spark(settings: Settings) -> None:
    """Give a server that is just being restarted the time to come back."""
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(SparkGone),
            stop=stop_after_delay(SPARK_WAIT_SECONDS),
            wait=wait_fixed(0.5),
        ):
            with attempt:
                probe_spark(settings)
    except RetryError as error:
        raise SparkGone(str(error.last_attempt.exception())) from error


def start_query(spec: StreamSpec, settings: Settings, spark: SparkSession, **trigger: Any) -> Any:
    """Prepare the sink and start the query on its checkpoint. `trigger` as in `DataStreamWriter.trigger`."""
    stream = StreamContext(spark, settings, spec.name, spec.topic.name, spec.checkpoint(settings))
    CheckpointNotes(spark, stream.checkpoint).pin(spec.pinned(settings))
    spec.sink.prepare(stream)
    source = records.read_stream(spark, settings.kafka, spec.topic.name, spec.max_offsets(settings))
    return (
        spec.sink.writer(source, stream)
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
def _start(spec: StreamSpec, settings: Settings, spark: SparkSession) -> Any:
    return start_query(spec, settings, spark, processingTime=f"{spec.interval_seconds(settings)} seconds")


def _watch(
    context: dg.OpExecutionContext,
    spec: StreamSpec,
    settings: Settings,
    query: Any,
    leases: Leases,
    epoch: int,
    companion: Companion | None,
) -> None:
    reporter = Reporter(spec, settings, companion)
    reporter.start()
    switch = KeepAliveSwitch(context.instance, spec, context.run)
    sample: Sample | None = None
    ends: dict[str, int] = {}
    last_report = time.monotonic() - settings.report_seconds
    last_beat = time.monotonic()
    while True:
        probe_spark(settings)
        if not query.isActive:
            problem = query.exception()
            raise QueryEnded(str(problem) if problem else "the query was stopped from outside of its run")
        newest = Sample.of(query.lastProgress, spec.topic.name)
        if newest is not None and (sample is None or newest.num_input_rows):  # Spark reports idle moments too
            sample = newest
        ends = (newest.end_offsets if newest else {}) or ends
        lag = consumer_lag(settings.kafka, spec.topic.name, ends) if ends else None
        try:
            leases.beat(spec.name, epoch, lag, {"end_offsets": ends, "batch_id": sample.batch_id if sample else None})
            last_beat = time.monotonic()
        except psycopg2.OperationalError as error:
            # Without the database nobody else can take the lease either, until our last beat is too old.
            if time.monotonic() - last_beat > settings.lease_seconds:
                stop_at_batch_boundary(query)
                raise
            context.log.warning(f"PostgreSQL did not take the beat, trying again: {error}")
        if companion is not None:
            companion.check()
        if time.monotonic() - last_report >= settings.report_seconds:
            events = reporter.events(sample, lag)
            for event in events:
                context.log_event(event)
            if events:
                last_report = time.monotonic()
        if switch.turned_off():
            context.log.info(f"{switch.name} was switched off: the stream rests")
            stop_at_batch_boundary(query)
            return
        time.sleep(settings.beat_seconds)


def stop_at_batch_boundary(query: Any) -> None:
    """Stop the query between two batches, or in the middle of one that takes longer than 20 s.

    Either is safe: a batch that was cut off is repeated at the next start, and its writes are idempotent.
    """
    deadline = time.monotonic() + STOP_SECONDS
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(0.1)
    query.stop()


class QueryEnded(Exception):
    """The streaming query is no longer active."""


def _release(context: dg.OpExecutionContext, leases: Leases, spec: StreamSpec, epoch: int) -> None:
    try:
        leases.release(spec.name, epoch)
    except psycopg2.Error as error:
        context.log.warning(f"the lease could not be given back and will run out by itself: {error}")


@contextmanager
def _failing_with_advice(spec: StreamSpec, settings: Settings) -> Iterator[None]:
    """Turn what can go wrong into a `dg.Failure` that says what happened and what to do next."""
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
        psycopg2.OperationalError: "PostgreSQL holds the lease and did not answer. `shop-streams status` tells its state.",
    }
    try:
        yield
    except tuple(advice) as error:
        next_step = next(text for kind, text in advice.items() if isinstance(error, kind))
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
