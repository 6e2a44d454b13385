"""A role with short limits, as on servers that others operate: what waits long, or keeps a lock in an idle session, goes on."""

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest

from shop_streams.postgres import connect, listening, run_ddl, transaction
from shop_streams.settings import Settings
from shop_streams.streaming.forgotten import AnotherRemoval, only_removal
from shop_streams.streaming.priority import turn_to_start
from shop_streams_tests.harness import free_ports, wait_for
from shop_streams_tests.local.test_database import execute, server

pytestmark = pytest.mark.servers

LIMIT = 1.0
LONGER = 1.5 * LIMIT
LIMITS = (
    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout",
)  # fmt: skip


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="shop streams 5% ") as folder:
        settings = Settings(home=Path(folder), postgres_port=free_ports(1)[0])
        with server(settings):
            known = execute(
                settings.postgres, f"select name from pg_settings where name in {LIMITS}"
            )  # fewer in older ones
            limits = [f"alter role current_user set {name} = '{int(1000 * LIMIT)}ms'" for (name,) in known]
            execute(settings.postgres, "; ".join(limits))  # in one session: the next one has the limits itself
            yield settings.postgres


def test_the_limits_are_the_roles(dsn: str) -> None:
    with pytest.raises(psycopg2.OperationalError):
        execute(dsn, f"select pg_sleep({LONGER})")


def test_a_stream_waits_for_its_turn_longer_than_the_roles_statements_may(dsn: str) -> None:
    order: list[str] = []

    def start() -> None:
        with turn_to_start(dsn, "spark", 30):
            order.append("second")

    with turn_to_start(dsn, "spark"):
        waiting = threading.Thread(target=start)
        waiting.start()
        time.sleep(LONGER)  # the first start takes so long, with its session idle
        order.append("first")
    waiting.join(30)
    assert order == ["first", "second"]


def test_a_turn_is_still_waited_for_a_limited_time_only(dsn: str) -> None:
    with turn_to_start(dsn, "spark"):
        began = time.monotonic()
        with turn_to_start(dsn, "spark", 2 * LIMIT):
            assert time.monotonic() - began >= 1.9 * LIMIT


def test_a_removal_keeps_its_lock_while_its_session_is_idle(dsn: str) -> None:
    with only_removal(dsn):
        time.sleep(LONGER)
        with pytest.raises(AnotherRemoval), only_removal(dsn):
            pytest.fail("both run")


def test_a_transaction_may_be_idle_and_its_cursor_read_slowly(dsn: str) -> None:
    with transaction(dsn) as cursor:
        cursor.execute("create temporary table numbers as select generate_series(1, 3) as number")
        time.sleep(LONGER)
        cursor.execute("select sum(number) from numbers")
        assert cursor.fetchone() == (6,)
    connection = connect(dsn)
    try:
        with connection, connection.cursor("slowly") as rows:
            rows.itersize = 1
            rows.execute("select generate_series(1, 2)")
            read = []
            for (number,) in rows:
                time.sleep(LONGER)
                read.append(number)
        assert read == [1, 2]
    finally:
        connection.close()


def test_a_listener_may_hear_nothing_for_long(dsn: str) -> None:
    with listening(dsn, "quiet") as notices:
        time.sleep(LONGER)
        with transaction(dsn) as cursor:
            cursor.execute("notify quiet")
        wait_for("the notice", lambda: notices.poll() or notices.notifies, 10)


def test_a_rollback_and_the_dsns_own_options_change_nothing(dsn: str) -> None:
    connection = connect(f"{dsn}&options=-csearch_path%3Dpg_catalog%20-cstatement_timeout%3D100")
    try:
        with connection.cursor() as cursor:
            connection.rollback()
            cursor.execute(f"select current_setting('search_path') from pg_sleep({LONGER})")
            assert cursor.fetchone() == ("pg_catalog",)
    finally:
        connection.close()


def test_ddl_still_gives_up_after_its_own_limit(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop_streams.postgres.SHORT_MILLISECONDS", int(2000 * LIMIT))
    with transaction(dsn) as other:
        other.execute("select pg_advisory_xact_lock(hashtext('a name'))")
        began = time.monotonic()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            run_ddl(dsn, "a name", "select 1")
        assert time.monotonic() - began >= 1.9 * LIMIT
