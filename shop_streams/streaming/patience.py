"""Patience with PostgreSQL, which holds the leases and Dagster's storage: a run survives an outage shorter than a lease."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from shop_streams.errors import ShopStreamsError

# PostgreSQL's errors as the driver, Dagster's storage and Dagster's retries raise them.
DATABASE_ERRORS = (psycopg2.Error, SQLAlchemyError, DagsterPostgresException)


class DatabaseAway(ShopStreamsError):
    """PostgreSQL has not answered for longer than a lease lasts."""

    next_step = "See its log (embedded: logs/postgres.log in the home folder). The sensor starts the stream again once PostgreSQL is back."


class Patience:
    """Suppresses PostgreSQL's errors until they have lasted for `seconds`; `say` gets each of them."""

    def __init__(self, seconds: float, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._say = say
        self._clock = clock
        self._answered = clock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """A block that uses PostgreSQL.

        Raises:
            DatabaseAway: the block failed, and the last success is more than `seconds` ago.
        """
        try:
            yield
        except DATABASE_ERRORS as error:
            away = self._clock() - self._answered
            if away > self._seconds:
                raise DatabaseAway(
                    f"PostgreSQL has not answered for {away:.0f} s, longer than the lease of {self._seconds:.0f} s: {error}"
                ) from error
            self._say(f"PostgreSQL did not answer, trying again: {error}")
        else:
            self._answered = self._clock()


def wait_until_it_answers(question: Callable[[], Any], seconds: float, every: float = 1.0) -> bool:
    """Call `question` again until PostgreSQL answers; False if it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            question()
        except DATABASE_ERRORS:
            if time.monotonic() > deadline:
                return False
            time.sleep(every)
        else:
            return True
