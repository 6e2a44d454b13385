"""What PostgreSQL keeps of forgotten people: keyed hashes, with which a loader leaves out their older rows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.streaming.forgotten import (
    begin_removal,
    create,
    end_removal,
    forgotten,
    remember,
    unfinished_removals,
)
from shop_streams_tests.local.test_database import execute, machine, server

pytestmark = pytest.mark.servers

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def database() -> Iterator[Settings]:
    with machine("UTC") as settings, server(settings):
        yield settings


@pytest.fixture
def dsn(database: Settings) -> str:
    with transaction(database.postgres) as cursor:
        cursor.execute("drop table if exists forgotten_key, forgotten_persons, forgotten_removals")
    return database.postgres


def test_rows_up_to_the_removal_are_left_out_and_later_ones_are_new(dsn: str) -> None:
    assert not forgotten(dsn, "community"), "before the first removal there is no table"
    now = remember(dsn, ["community", "sales"], "17")
    found = forgotten(dsn, "community")
    assert found and found == forgotten(dsn, "community")
    assert found.leaves_out(17, now) and found.leaves_out("17", now - SECOND)
    assert not found.leaves_out(17, now + SECOND)
    assert not found.leaves_out(117, now - SECOND)
    assert not forgotten(dsn, "app_events")


def test_rows_that_may_have_been_there_at_the_removal_stay_away_also_those_from_the_future(dsn: str) -> None:
    ahead = timedelta(hours=1)  # of a row that is accepted
    before = datetime.now(UTC)
    until = remember(dsn, ["community"], "17")
    found = forgotten(dsn, "community")
    assert found.leaves_out(17, before + ahead) and not found.leaves_out(17, datetime.now(UTC) + ahead + SECOND)
    assert before + ahead <= until <= datetime.now(UTC) + ahead


def test_a_later_removal_covers_what_came_in_between(dsn: str) -> None:
    first = remember(dsn, ["community"], "17")
    second = remember(dsn, ["community"], "17")
    assert second > first and forgotten(dsn, "community").leaves_out(17, second)


def test_the_database_holds_no_id_and_another_one_has_other_hashes(dsn: str) -> None:
    remember(dsn, ["community"], "4242424242")
    (before,) = execute(dsn, "select person from forgotten_persons")
    text = str(execute(dsn, "select * from forgotten_persons, forgotten_key"))
    assert "4242424242" not in text and b"4242424242".hex() not in text
    execute(dsn, "drop table forgotten_key, forgotten_persons")
    remember(dsn, ["community"], "4242424242")
    (after,) = execute(dsn, "select person from forgotten_persons")
    assert bytes(before[0]) != bytes(after[0])  # type: ignore[call-overload]


def test_postgres_computes_the_same_hash(dsn: str) -> None:
    remember(dsn, ["promotions"], "клиент-1")
    statement = "select count(*) from forgotten_persons, forgotten_key where person = sha256(secret || convert_to('клиент-1', 'UTF8'))"
    assert execute(dsn, statement) == [(1,)]


def test_an_unfinished_removal_keeps_the_version_of_its_beginning(dsn: str) -> None:
    create(dsn)
    begin_removal(dsn, "sales/shop_events", 7)
    begin_removal(dsn, "sales/shop_events", 9)
    assert unfinished_removals(dsn) == {"sales/shop_events": 7}
    end_removal(dsn, "sales/shop_events")
    assert unfinished_removals(dsn) == {}
