"""Calls to Spark with deadlines: probe the server, look at a query, and stop queries in any state of the server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from confluent_kafka import KafkaException
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka_access import refusal
from shop_streams.settings import Settings

T = TypeVar("T")

PROBE_SECONDS = 2.0
SPARK_WAIT_SECONDS = 45.0
BOUNDARY_SECONDS = 20.0
STOP_SECONDS = 30.0  # for the batch boundary and the call
CLOSE_SECONDS = 15.0  # Spark's client waits 10 s for the release of its operations
CALL_SECONDS = 30.0  # a healthy server answers in milliseconds

# Spark's errors for a session whose server was stopped or restarted.
RESTARTED = (
    "SESSION_NOT_FOUND", "SESSION_CLOSED", "SESSION_CHANGED", "INVALID_HANDLE", "RESPONSE_ALREADY_RECEIVED",
    "NO_ACTIVE_SESSION", "SparkContext was shut down", "stopped SparkContext",
)  # fmt: skip
UNANSWERED = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")  # gRPC's status codes


class SparkGone(ShopStreamsError):
    """Spark's server does not answer."""

    next_step = "The sensor starts the stream again once Spark is back. `shop-streams status` tells its state."


class SparkRestarted(ShopStreamsError):
    """Spark's server is another process than the one that the query was started on."""

    next_step = "Nothing to do: the sensor starts the stream again, and the batch is repeated."


class QueryEnded(ShopStreamsError):
    """The streaming query is no longer active."""

    next_step = "Read the cause above; the sensor tries again."


def said(error: Exception) -> str:
    """An error's class and message without Java stack traces, which contain the names of many classes."""
    text = str(error).split("JVM stacktrace")[0].split("\n\tat ")[0].strip()
    return f"{type(error).__name__}: {text}"


def in_plain_words(error: Exception, settings: Settings, topic: str = "") -> Exception:
    """Turn an error into KafkaRefused, SparkGone or SparkRestarted if it means that; return other errors unchanged.

    `topic` is what the message names if the error names none.
    """
    if isinstance(error, KafkaException):
        return refusal(settings.kafka, error, topic) or error
    if not isinstance(error, (PySparkException, QueryEnded)):
        return error
    if refused := refusal(settings.kafka, str(error), topic):
        return refused
    if any(words in said(error) for words in RESTARTED):
        return SparkRestarted("Spark was restarted, which ended its queries.")
    status = getattr(error, "getGrpcStatusCode", None)
    if status is not None and status().name in UNANSWERED:
        return SparkGone(f"Spark's server at {_address(settings)} went away in the middle of a call.")
    return error


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of the call, made in another thread: with a stopped server, a call would never return.

    Raises:
        SparkGone: no answer within `seconds`.
        Exception: the call's own.
    """
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # raised again by `result`, in the caller's thread
            outcome.set_exception(error)

    threading.Thread(target=work, name="calls Spark", daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError as error:
        if outcome.done():  # the call itself raised it
            raise
        raise SparkGone(f"Spark has not answered within {seconds:.0f} s.") from error


def probe_spark(settings: Settings) -> None:
    """Raise SparkGone within seconds if the server is down; Spark Connect's client would retry for longer."""
    try:
        socket.create_connection(settings.spark_address, timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise SparkGone(f"no Spark server answers at {_address(settings)}: {error}") from error


def wait_for_spark(settings: Settings, seconds: float = SPARK_WAIT_SECONDS) -> None:
    """Wait for a server that is being restarted.

    It waits for a gRPC connection: the port of a stopped (SIGSTOP) server is open, but clients would hang.

    Raises:
        SparkGone: no connection within `seconds`.
    """
    from pyspark.sql.connect.client import DefaultChannelBuilder  # imports pandas

    options = [("grpc.max_reconnect_backoff_ms", 500)]
    channel = DefaultChannelBuilder(settings.spark_with_token, options).toChannel()
    try:
        grpc.channel_ready_future(channel).result(seconds)
    except grpc.FutureTimeoutError as error:
        raise SparkGone(f"no Spark server has answered at {_address(settings)} within {seconds:.0f} s") from error
    finally:
        channel.close()


def _address(settings: Settings) -> str:
    host, port = settings.spark_address
    return f"{host}:{port}"


@dataclass(frozen=True)
class QueryState:
    """The state of a query: why it has `ended` (None while active), and its last progress report.

    `in_batch`: its trigger is active.
    """

    ended: str | None
    progress: Any = None
    in_batch: bool = False


def look_at(query: Any) -> QueryState:
    """Ask Spark."""
    if not query.isActive:
        return QueryState(str(query.exception() or "the query was stopped from outside its run"))
    return QueryState(None, query.lastProgress, query.status["isTriggerActive"])


def stop_at_batch_boundary(query: Any) -> None:
    """Stop the query between two batches, or within a batch that takes longer than 20 s.

    Both are safe: the next start repeats an interrupted batch, and its writes are idempotent.
    """
    deadline = time.monotonic() + BOUNDARY_SECONDS
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(0.1)
    query.stop()


def stop_queries(
    spark: SparkSession, probe: Callable[[], None], at_boundary: bool = True, seconds: float = STOP_SECONDS
) -> str | None:
    """Stop every query of this session and end the session; return None, or why that failed.

    Each run has another session, so the query of the next run is not stopped. `probe` raises if Spark does not answer: then
    the server is down, and its queries with it. A server that hangs is waited for `seconds`.
    """
    outcome: list[str | None] = ["Spark gave no answer; the next start of the stream stops the query"]

    def work() -> None:
        try:
            probe()
            for query in spark.streams.active:
                with suppress(PySparkException):  # a query that is not interrupted in time ends with its session
                    stop_at_batch_boundary(query) if at_boundary else query.stop()
            spark.stop()  # also ends a query whose start was interrupted
            outcome[0] = None
        except Exception as error:  # returned, so that it does not hide the caller's own exception
            outcome[0] = f"{type(error).__name__}: {error}"

    thread = threading.Thread(target=work, name="stops the query", daemon=True)  # may hang in a call to Spark
    thread.start()
    thread.join(seconds)
    if outcome[0] is not None:
        spark.client.close()  # otherwise its last calls to a server that hangs would block the end of this process
    return outcome[0]
