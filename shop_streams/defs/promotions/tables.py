"""Creates the tables of promotions in PostgreSQL. Spark's worker imports this file: keep it light."""

from __future__ import annotations

from pathlib import Path

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import transaction
from shop_streams.streaming import forgotten

TABLES = Path(__file__).with_name("tables.sql")
SUBSCRIBERS = Path(__file__).with_name("subscribers.sql")


class SubscribersMissing(ShopStreamsError):
    """The shop's table of subscribers does not exist."""

    def __init__(self) -> None:
        super().__init__(
            "PostgreSQL has no table subscribers_restaurants. Create it with `shop-streams prepare --subscribers`, or:\n"
            f"{SUBSCRIBERS.read_text()}"
        )


def create_tables(dsn: str) -> None:
    """Create this domain's tables where they are missing, and those of forgotten people, which notifications look at.

    Raises:
        SubscribersMissing: the shop's table does not exist; with the statement that creates it.
    """
    create_own_tables(dsn)
    with transaction(dsn) as cursor:
        cursor.execute("select to_regclass('subscribers_restaurants')")
        if cursor.fetchone()[0] is None:
            raise SubscribersMissing


def create_own_tables(dsn: str) -> None:
    """Create the tables as `create_tables` does, without a look at the shop's table."""
    forgotten.create(dsn)
    _run(dsn, TABLES)


def create_subscribers(dsn: str) -> None:
    """Create the shop's table of subscribers where it is missing: for the embedded database, which no shop uses yet."""
    _run(dsn, SUBSCRIBERS)


def _run(dsn: str, file: Path) -> None:
    with transaction(dsn) as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('promotions_ddl'))")  # concurrent DDL fails in PostgreSQL
        cursor.execute(file.read_text())
