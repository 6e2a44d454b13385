"""The failure of a stream's run: a description of the error, and the next step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg
from confluent_kafka import KafkaException
from pyspark.errors import PySparkException

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases
from shop_streams.streaming.patience import DATABASE_ERRORS, wait_until_it_answers
from shop_streams.streaming.query import in_plain_words
from shop_streams.streaming.run_checks import log_alive
from shop_streams.streaming.spec import StreamSpec

STORAGE_WAIT_SECONDS = 600.0
PROBLEM_CHARACTERS = 2000
TERMINATED = "terminated: the stream has stopped and released its lease"

# For errors of other libraries. A ShopStreamsError has its own next step.
NEXT_STEPS: dict[type[Exception], str] = {
    PySparkException: "Read the cause above. See Spark's log (embedded: logs/spark.log in the home folder). The sensor tries again.",
    KafkaException: "The broker did not answer, or refused. See its log (embedded: logs/kafka.log in the home folder). The sensor tries again.",
    **dict.fromkeys(
        DATABASE_ERRORS,
        "PostgreSQL did not answer, or refused. See its log (embedded: logs/postgres.log in the home folder). The sensor tries again.",
    ),
    Exception: "An unexpected error. Read the cause above and the code server's log (embedded: logs/dagster_code_server.log in the home folder). "
    "The sensor tries again.",
}


def next_step(error: Exception) -> str:
    """The next step for a person after this error."""
    if isinstance(error, ShopStreamsError):
        return error.next_step
    return next(text for kind, text in NEXT_STEPS.items() if isinstance(error, kind))


@contextmanager
def failing_with_advice(context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings) -> Iterator[None]:
    """Turn every error into a `dg.Failure` with a description and the next step.

    Dagster logs a termination as an error too. It gets a message, and no stack trace.
    """
    try:
        yield
    except dg.Failure:
        raise
    except dg.DagsterExecutionInterruptedError as interrupt:
        sys.tracebacklimit = 0  # the process ends with its run
        raise dg.DagsterExecutionInterruptedError(str(interrupt) or TERMINATED) from None
    except Exception as caught:  # every failed run must say the next step
        error = in_plain_words(caught, settings, spec.topic.name)
        # Dagster stores the failure in PostgreSQL. Without PostgreSQL, the run would end without a message.
        wait_until_it_answers(lambda: context.instance.get_run_by_id(context.run_id), STORAGE_WAIT_SECONDS)
        with suppress(*DATABASE_ERRORS):
            Leases(settings.postgres).record_problem(
                spec.name, context.run_id, f"{str(error).rstrip('.')}. {next_step(error)}"[:PROBLEM_CHARACTERS]
            )
            log_alive(context, spec, settings)  # its sensor says so too, but may be off
        raise dg.Failure(
            description=f"{spec.name}: {error}",
            metadata={
                "cause": type(error).__name__,
                "next_step": next_step(error),
                "topic": spec.topic.name,
                "checkpoint": spec.checkpoint(settings),
            },
            allow_retries=False,
        ) from (None if isinstance(error, ShopStreamsError) else error)  # its message needs no stack trace
