"""PostgreSQL that is away is waited for as long as a lease lasts, whichever library says so."""

from collections.abc import Callable

import psycopg2
import pytest
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shop_streams.streaming.lease import Superseded
from shop_streams.streaming.patience import DatabaseAway, Patience, wait_until_it_answers

AWAY = [
    psycopg2.OperationalError("connection refused"),
    psycopg2.InterfaceError("connection already closed"),
    OperationalError("select", {}, Exception("server closed the connection")),
    PoolTimeout("no connection"),
    DagsterPostgresException("too many retries for DB connection"),
]


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
def test_errors_of_an_unavailable_service_are_waited_for(error: Exception) -> None:
    now, said = [0.0], list[str]()
    patience = Patience(15, said.append, lambda: now[0])

    def ask(at: float, outcome: Exception | None) -> None:
        now[0] = at
        with patience():
            if outcome is not None:
                raise outcome

    ask(10, error)
    ask(12, None)  # it is back, and the time counts again
    ask(20, error)
    ask(27, error)
    with pytest.raises(DatabaseAway, match="not answered for 16 s, longer than the lease of 15 s"):
        ask(28, error)
    assert len(said) == 3


def test_what_has_another_cause_is_not_waited_for() -> None:
    for error in (Superseded("a newer one"), ValueError("a bug")):
        with pytest.raises(type(error)), Patience(15, print)():
            raise error


def failing(times: int) -> Callable[[], None]:
    left = [times]

    def question() -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise AWAY[0]

    return question


def test_a_question_is_asked_until_it_is_answered_or_time_is_up() -> None:
    assert wait_until_it_answers(failing(3), 10, every=0.01)
    assert not wait_until_it_answers(failing(10_000), 0.1, every=0.01)
