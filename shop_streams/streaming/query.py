"""Whether Spark answers, and how the queries of a run are stopped, whatever state Spark is in."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from pyspark.sql import SparkSession
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from shop_streams.settings import Settings

PROBE_SECONDS = 2.0
SPARK_WAIT_SECONDS = 45.0
BOUNDARY_SECONDS = 20.0
STOP_SECONDS = 30.0  # to a batch boundary, and for the call itself


class SparkGone(Exception):
    """Spark's server does not answer."""


def probe_spark(settings: Settings) -> None:
    """Fail within seconds when the server is down: Spark Connect's own client would retry for minutes."""
    host, port = settings.spark_address
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise SparkGone(f"no Spark server answers at {host}:{port}: {error}") from error


def wait_for_spark(settings: Settings) -> None:
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


def stop_at_batch_boundary(query: Any) -> None:
    """Stop the query between two batches, or in the middle of one that takes longer than 20 s.

    Either is safe: a batch that was cut off is repeated at the next start, and its writes are idempotent.
    """
    deadline = time.monotonic() + BOUNDARY_SECONDS
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(0.1)
    query.stop()


def stop_queries(
    spark: SparkSession, probe: Callable[[], None], at_boundary: bool = True, seconds: float = STOP_SECONDS
) -> str | None:
    """Stop every query of this session and end the session; why it did not work, or None.

    A run's session is its own: the query that a successor has on the same checkpoint is in another one. `probe` raises
    when Spark does not answer; its queries have ended with it then. A server that hangs is waited for `seconds`.
    """
    outcome: list[str | None] = ["Spark gave no answer; the next start of the stream stops what goes on"]

    def work() -> None:
        try:
            probe()
            for query in spark.streams.active:
                stop_at_batch_boundary(query) if at_boundary else query.stop()
            spark.stop()  # also ends a query whose start was interrupted
            outcome[0] = None
        except Exception as error:  # said by the caller: what is under way matters more, and must not be hidden by it
            outcome[0] = f"{type(error).__name__}: {error}"

    thread = threading.Thread(target=work, name="stops the query", daemon=True)  # may hang in a call to Spark
    thread.start()
    thread.join(seconds)
    return outcome[0]
