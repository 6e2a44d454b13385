"""A run's queries are stopped whatever state Spark is in, and stopping has an end."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import pytest
from pyspark.errors import PySparkException
from pyspark.errors.exceptions.connect import SparkConnectGrpcException
from pyspark.sql import SparkSession

from shop_streams.settings import Settings
from shop_streams.streaming.query import (
    QueryEnded,
    SparkGone,
    SparkRestarted,
    in_plain_words,
    probe_spark,
    stop_queries,
    wait_for_spark,
    within,
)


@dataclass
class Query:
    """A query in the middle of a batch, which ends after so many looks."""

    looks: int = 3
    stopped: bool = False
    isActive: bool = True

    @property
    def status(self) -> dict[str, bool]:
        self.looks -= 1
        return {"isTriggerActive": self.looks > 0}

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Session:
    """What `stop_queries` uses of a session."""

    queries: list[Query] = field(default_factory=list)
    hangs: bool = False
    ended: bool = False
    closed: bool = False

    @property
    def streams(self) -> Any:
        return self

    @property
    def active(self) -> list[Query]:
        if self.hangs:
            threading.Event().wait(30)
        return self.queries

    def stop(self) -> None:
        self.ended = True

    @property
    def client(self) -> Any:
        return self

    def close(self) -> None:
        self.closed = True


def answers() -> None:
    pass


def gone() -> None:
    raise SparkGone("no Spark server answers")


def spark(session: Session) -> SparkSession:
    return cast(SparkSession, session)


@pytest.mark.parametrize(("at_boundary", "looks_left"), [(True, 0), (False, 3)])
def test_every_query_of_the_session_is_stopped_and_the_session_ends(at_boundary: bool, looks_left: int) -> None:
    session = Session([Query(), Query()])
    assert stop_queries(spark(session), answers, at_boundary) is None
    assert [(query.stopped, query.looks) for query in session.queries] == [(True, looks_left)] * 2
    assert session.ended


def test_a_server_that_is_gone_is_not_asked() -> None:
    session = Session([Query()])
    assert "no Spark server answers" in str(stop_queries(spark(session), gone))
    assert not session.queries[0].stopped


def test_a_server_that_hangs_is_not_waited_for_without_end() -> None:
    began = time.monotonic()
    session = Session(hangs=True)
    assert "no answer" in str(stop_queries(spark(session), answers, seconds=0.2))
    assert time.monotonic() - began < 5
    assert session.closed  # or the process would hang at its end


def test_a_query_that_can_not_be_interrupted_ends_with_its_session() -> None:
    session = Session([Query(), Query()])
    session.queries[0].stop = lambda: throw(PySparkException("timed out"))  # type: ignore[method-assign]
    assert stop_queries(spark(session), answers, at_boundary=False) is None
    assert session.queries[1].stopped and session.ended


def throw(error: Exception) -> None:
    raise error


def test_a_call_without_an_answer_is_spark_gone() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(SparkGone, match="not answered within 0 s"):
        within(0.1, lambda: threading.Event().wait(30))
    with pytest.raises(TimeoutError, match="its own"):
        within(5, lambda: throw(TimeoutError("its own")))


@pytest.fixture
def stopped_server() -> Iterator[Settings]:
    """What a stopped server looks like: the system takes connections for it, and nobody says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Settings(spark_remote=f"sc://127.0.0.1:{server.getsockname()[1]}")


def test_a_stopped_server_is_not_there_for_a_start(stopped_server: Settings) -> None:
    probe_spark(stopped_server)  # its port is open
    with pytest.raises(SparkGone, match="no Spark server has answered at 127"):
        wait_for_spark(stopped_server, 1)


def status(code: grpc.StatusCode) -> Exception:
    return SparkConnectGrpcException("raw words of gRPC", grpc_status_code=code)


WORDS = {
    "the server died": (status(grpc.StatusCode.UNAVAILABLE), SparkGone),
    "a deadline": (status(grpc.StatusCode.DEADLINE_EXCEEDED), SparkGone),
    "a channel that was closed": (status(grpc.StatusCode.CANCELLED), SparkGone),
    "it came back": (PySparkException("[INVALID_HANDLE.SESSION_NOT_FOUND] x"), SparkRestarted),
    "it is going down": (QueryEnded("SparkContext was shut down"), SparkRestarted),
    "the data": (status(grpc.StatusCode.INTERNAL), SparkConnectGrpcException),
    "its words stand in a stack trace only": (
        PySparkException("x\n\nJVM stacktrace:\nSESSION_CLOSED"),
        PySparkException,
    ),
    "a query that failed": (QueryEnded("[DIVIDE_BY_ZERO]"), QueryEnded),
    "an error of another kind": (ValueError("SESSION_CLOSED"), ValueError),
}


@pytest.mark.parametrize("case", WORDS)
def test_a_server_that_is_gone_is_called_so(case: str) -> None:
    error, kind = WORDS[case]
    assert type(in_plain_words(error, Settings())) is kind
