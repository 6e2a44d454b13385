"""PostgreSQL holds the leases and Dagster's own storage. When it is away, a run waits for it as for a missed beat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from shop_streams.errors import ShopStreamsError

# What the driver, Dagster's storage and Dagster's own retries raise for it.
DATABASE_ERRORS = (psycopg2.Error, SQLAlchemyError, DagsterPostgresException)


class DatabaseAway(ShopStreamsError):
    """PostgreSQL has not answered for longer than a lease lasts."""

    next_step = (
        "PostgreSQL holds the leases and Dagster's records: see logs/postgres.log in the home folder. "
        "The sensor starts the stream again once it is back."
    )


class Patience:
    """Lets what fails for want of PostgreSQL fail, until that has lasted for `seconds`.

    `say` is told of each time.
    """

    def __init__(self, seconds: float, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._say = say
        self._clock = clock
        self._answered = clock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """A block that asks PostgreSQL.

        Raises:
            DatabaseAway: it failed again, and the last block that did not is too long ago.
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
    """Ask again until PostgreSQL answers; False when it did not within `seconds`."""
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
