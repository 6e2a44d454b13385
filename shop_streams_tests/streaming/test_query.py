"""A run's queries are stopped whatever state Spark is in, and stopping has an end."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pyspark.sql import SparkSession

from shop_streams.streaming.query import SparkGone, stop_queries


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
    assert "no answer" in str(stop_queries(spark(Session(hangs=True)), answers, seconds=0.2))
    assert time.monotonic() - began < 5
