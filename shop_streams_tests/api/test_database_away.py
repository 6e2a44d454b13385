"""The database is down, silent, busy or new: the API says so within seconds, and is back by itself."""

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg2
import pytest
from starlette.testclient import TestClient

from shop_streams.api.app import build_app
from shop_streams.api.database import WAITING_REQUESTS, Database
from shop_streams.local.api_role import prepare_api_role
from shop_streams.postgres import connect
from shop_streams.serve import raise_file_limit
from shop_streams.settings import API_ROLE, Settings
from shop_streams_tests.api.conftest import create_tables, new_home, prepare, serving
from shop_streams_tests.harness import free_ports
from shop_streams_tests.local.test_database import execute, server

pytestmark = pytest.mark.servers
A_FEW_SECONDS = 5


def assert_unavailable(answer: httpx.Response, since: int, seconds: float) -> None:
    assert answer.status_code == 503 and answer.headers["retry-after"].isdigit()
    assert answer.json() == {"timestamp": since, "contents": [], "check": False}, "and nothing of the driver's text"
    assert seconds < A_FEW_SECONDS


def ask(api: TestClient, path: str = "/api/v1.0/users/7") -> tuple[httpx.Response, float]:
    started = time.monotonic()
    return api.get(path), time.monotonic() - started


def elsewhere(port: int) -> Settings:
    return Settings(api_postgres_dsn=f"postgresql://hidden_user@127.0.0.1:{port}/hidden")


@pytest.mark.parametrize("path", ["/api/v1.0/users/7", "/api/v1.0/orders/7?url=s", "/api/v1.0/users/7?url=%00"])
def test_no_database(path: str) -> None:
    with serving(elsewhere(free_ports(1)[0])) as api:
        answer, seconds = ask(api, path)
        assert_unavailable(answer, 7, seconds)
        assert api.get("/healthz").json() == {"healthy": False, "reason": "The database does not answer"}
        assert api.get("/healthz").status_code == api.get("/api/v1.0/streams").status_code == 503
        assert api.get("/livez").status_code == 200


def test_a_database_that_accepts_and_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, serving(elsewhere(silent.getsockname()[1])) as api:
        for _ in range(2):
            answer, seconds = ask(api)
            assert_unavailable(answer, 7, seconds)
        answer, seconds = ask(api, "/healthz")
        assert answer.status_code == 503 and seconds < A_FEW_SECONDS


def test_a_connection_is_opened_although_many_files_are(tables: Settings) -> None:
    raise_file_limit()
    files = [os.dup(0) for _ in range(1100)]
    try:
        with serving(tables) as api:
            assert api.get("/api/v1.0/users/7").json() == {"timestamp": 7, "contents": [], "check": True}
    finally:
        for file in files:
            os.close(file)


@contextmanager
def stopped(settings: Settings) -> Iterator[None]:
    """Every process of the server is stopped, as on a machine that hangs; the system still acknowledges what is sent."""
    main = int((settings.home / "postgres" / "postmaster.pid").read_text().split()[0])
    with open(f"/proc/{main}/task/{main}/children") as file:  # noqa: PTH123
        processes = [main, *map(int, file.read().split())]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def test_a_database_that_stops_in_between(tables: Settings, api: TestClient) -> None:
    assert ask(api)[0].status_code == 200
    with stopped(tables):
        for _ in range(3):
            answer, seconds = ask(api)
            assert_unavailable(answer, 7, seconds)
    answer, seconds = ask(api)
    assert answer.status_code == 200 and seconds < 1


def test_connections_of_a_server_that_was_restarted_are_replaced_before_use() -> None:
    with new_home() as settings:
        with server(settings):
            prepare(settings)
            create_tables(settings)
            api = TestClient(build_app(settings), raise_server_exceptions=False)
            with api:
                assert ask(api)[0].status_code == api.get("/healthz").status_code == 200
                processes = "select pid from pg_stat_activity where usename = %s"
                connection = psycopg2.connect(settings.postgres)
                with connection, connection.cursor() as cursor:
                    cursor.execute(processes, (API_ROLE,))
                    assert cursor.fetchall()
                connection.close()
        with server(settings), api:
            assert ask(api)[0].status_code == api.get("/healthz").status_code == 200


@contextmanager
def locked_users(settings: Settings) -> Iterator[None]:
    """Every question for users waits."""
    lock = connect(settings.postgres)
    with lock.cursor() as cursor:
        cursor.execute("lock table users in access exclusive mode")
    try:
        yield
    finally:
        lock.close()


def test_when_all_connections_are_busy_few_requests_wait_and_not_long(tables: Settings) -> None:
    def question(cursor: Any) -> None:
        cursor.execute("select * from users")

    async def many() -> list[str]:
        database = Database(tables.api_postgres, connections=2, statement_seconds=3)
        asked = [database.ask(question) for _ in range(WAITING_REQUESTS + 5)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        database.close()
        return [str(one) for one in found]

    with locked_users(tables):
        reasons = Counter(asyncio.run(many()))
    assert reasons == {
        "The database does not answer": 2,
        "All connections to the database are in use": WAITING_REQUESTS - 2,
        "Too many requests wait for the database": 5,
    }


def test_health_does_not_wait_for_slow_questions(tables: Settings) -> None:
    async def many() -> tuple[list[httpx.Response], httpx.Response, bool]:
        transport = httpx.ASGITransport(build_app(tables), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=60) as client:
            slow = [
                asyncio.create_task(client.get(f"/api/v1.0/users/{since}")) for since in range(tables.api_connections)
            ]
            await asyncio.sleep(0.3)
            health = await client.get("/healthz")
            early = not any(task.done() for task in slow)
            return [await task for task in slow], health, early

    with locked_users(tables):
        found, health, early = asyncio.run(many())
    assert [answer.status_code for answer in found] == [503] * tables.api_connections
    assert health.status_code == 200 and early


def test_a_query_may_take_as_long_as_the_setting_says_and_no_longer(tables: Settings, api: TestClient) -> None:
    running = f"select count(*) from pg_stat_activity where state = 'active' and usename = '{API_ROLE}'"
    with locked_users(tables):
        answer, seconds = ask(api)
        assert execute(tables.postgres, running) == [(0,)], "the server has ended it, too"
    assert_unavailable(answer, 7, seconds)
    assert tables.api_query_seconds <= seconds


FORBIDDEN = (
    "insert into users values (1, 's', '1', 1, 1)", "update orders set count = 1", "delete from users", "truncate users",
    "drop table users", "create table mine (a int)", "select * from secret", "select * from pg_authid",
    "delete from stream_leases", "update served_changes set change = 0", "copy users to '/tmp/x'", "set role postgres",
)  # fmt: skip


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_apis_user_may_read_the_served_tables_and_do_nothing_else(tables: Settings, statement: str) -> None:
    execute(tables.postgres, "create table if not exists secret (a int)")
    connection = psycopg2.connect(tables.api_postgres)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("select current_user, current_setting('default_transaction_read_only')")
            assert cursor.fetchone() == (API_ROLE, "on")
            cursor.execute("set default_transaction_read_only = off")  # a setting is no protection
            for table in ("users", "orders", "stream_leases", "served_changes"):
                cursor.execute(f"select * from {table}")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
    finally:
        connection.close()


def test_a_table_of_changes_that_the_user_may_not_read_is_not_needed(tables: Settings, api: TestClient) -> None:
    """As in a database that was restored from an embedded one."""
    execute(tables.postgres, f"revoke select on served_changes from {API_ROLE}")
    try:
        assert api.get("/api/v1.0/users/7").json()["check"] is True
        execute(tables.postgres, f"revoke select on users from {API_ROLE}")
        assert api.get("/api/v1.0/users/7").status_code == 503
    finally:
        execute(tables.postgres, f"grant select on served_changes, users to {API_ROLE}")


def test_a_new_start_changes_the_users_password_and_the_home_knows_it(database: Settings) -> None:
    passfile = database.home / "postgres_api.pass"
    before = passfile.read_text()
    prepare(database)
    assert passfile.read_text() != before and passfile.stat().st_mode & 0o777 == 0o600
    assert execute(database.api_postgres, "select count(*) from stream_leases") == [(0,)]


def test_databases_of_others_get_no_user() -> None:
    nothing = f"postgresql://nobody@127.0.0.1:{free_ports(1)[0]}/none"
    for settings in (
        Settings(postgres_dsn=nothing),
        Settings(api_postgres_dsn=nothing, postgres_port=free_ports(1)[0]),
    ):
        prepare_api_role(settings)  # it would fail: nothing answers there
    assert Settings(postgres_dsn=nothing).api_postgres == nothing, (
        "without one of its own, the API uses the other parts' user"
    )
