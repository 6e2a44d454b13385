"""The embedded PostgreSQL on machines west and east of UTC, and one with half hours: real server, real Dagster daemon."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import psycopg2
import pytest

from shop_streams.environment import DAGSTER_POSTGRES, process_environment
from shop_streams.errors import ShopStreamsError
from shop_streams.local import prepare
from shop_streams.local.database_check import Database, require_usable
from shop_streams.local.probes import RefusesUs, Unhealthy, probe_daemon, probe_postgres
from shop_streams.local.services import services
from shop_streams.runs import created_at
from shop_streams.settings import Settings
from shop_streams_tests.harness import free_ports, wait_for

pytestmark = pytest.mark.servers

ZONES = ("America/New_York", "Asia/Tokyo", "Asia/Kolkata")


@contextmanager
def server(settings: Settings) -> Iterator[None]:
    """The database as `up` prepares and starts it."""
    service = next(service for service in services(settings) if service.name == "postgres")
    service.prepare()
    process = subprocess.Popen(
        service.command, user=service.user, env=process_environment(settings), cwd="/", stderr=subprocess.DEVNULL
    )

    def answers() -> bool:
        try:
            probe_postgres(settings)
        except Unhealthy:
            return False
        return True

    try:
        wait_for("PostgreSQL to answer", answers, 60)
        yield
    finally:
        process.send_signal(2)
        process.wait(30)


@contextmanager
def machine(zone: str) -> Iterator[Settings]:
    """A new home on a machine in this zone."""
    before = dict(os.environ)
    os.environ["TZ"] = zone
    os.environ.pop("PGTZ", None)
    time.tzset()
    try:
        with tempfile.TemporaryDirectory(prefix="shop streams 5% ") as folder:
            yield Settings(home=Path(folder), postgres_port=free_ports(1)[0])
    finally:
        os.environ.clear()
        os.environ.update(before)
        time.tzset()


def execute(dsn: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.mark.parametrize("zone", ZONES)
def test_times_are_right_wherever_the_machine_is(zone: str) -> None:
    with machine(zone) as settings, server(settings):
        conf = (settings.home / "postgres" / "postgresql.conf").read_text()
        assert f"timezone = '{zone}'" in conf, "initdb took the machine's zone: this is the case"
        assert execute(settings.postgres, "show timezone") == [("UTC",)], "a session that says nothing"
        require_usable(settings)

        prepare.prepare_dagster(settings)
        os.environ[DAGSTER_POSTGRES] = settings.postgres
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            instance.create_run_for_job(dg.job(name="nothing")(lambda: None))
            (record,) = instance.get_run_records()
            assert abs(time.time() - record.create_timestamp.timestamp()) < 60
            assert abs(time.time() - created_at(instance, record)) < 60
            instance.report_engine_event("hello", record.dagster_run)
            # Sessions of another zone shift the column: the age does not come from it.
            execute(settings.postgres, "update runs set create_timestamp = create_timestamp + interval '9 hours'")
            (record,) = instance.get_run_records()
            assert abs(time.time() - created_at(instance, record)) < 60

            daemon = subprocess.Popen(
                [str(Path(sys.executable).with_name("dagster-daemon")), "run", "--empty-workspace"],
                env=process_environment(settings), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                wait_for("a heartbeat", lambda: instance.get_daemon_heartbeats().get("SENSOR"), 90)
                probe_daemon(settings)
                # Written by a session of another zone, as in a home of an earlier version.
                execute(settings.postgres, "update daemon_heartbeats set timestamp = timestamp - interval '5 hours'")
                probe_daemon(settings)
                with pytest.raises(Unhealthy, match="last heartbeat"):
                    probe_daemon(settings, tolerance_seconds=-60)
            finally:
                daemon.terminate()
                daemon.wait(60)


def ask(instance: dg.DagsterInstance) -> None:
    """A question to each of Dagster's three storages."""
    assert instance.all_instigator_state() == [] and instance.get_runs() == []
    assert instance.get_latest_materialization_event(dg.AssetKey("none")) is None


@pytest.mark.parametrize("webserver", [False, True])
def test_dagster_keeps_its_connections_and_they_outlive_the_server(webserver: bool) -> None:
    count = "select sessions from pg_stat_database where datname = 'postgres'"
    with machine("UTC") as settings:
        os.environ[DAGSTER_POSTGRES] = settings.postgres
        prepare.prepare_dagster(settings)
        with server(settings), dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            if webserver:
                instance.optimize_for_webserver(statement_timeout=5000, pool_recycle=3600, max_overflow=20)
            ask(instance)
            (before,) = execute(settings.postgres, count)[0]
            for _ in range(20):
                ask(instance)
            (after,) = execute(settings.postgres, count)[0]
            assert int(str(after)) - int(str(before)) < 5
        with server(settings):
            ask(instance)
            instance.dispose()


def test_an_external_database_is_checked_and_the_advice_helps() -> None:
    with machine("Asia/Kolkata") as settings, server(settings):
        os.environ["PGTZ"] = "UTC"  # as every process of ours has it: it must not hide the database's own zone
        execute(settings.postgres, 'create database "Shop\'s"')
        dsn = settings.postgres.replace("/postgres?", "/Shop's?")
        theirs = settings.model_copy(update={"postgres_dsn": dsn})
        require_usable(theirs)
        execute(settings.postgres, "alter database \"Shop's\" set timezone to 'Asia/Kolkata'")
        with pytest.raises(
            ShopStreamsError, match=r"'Asia/Kolkata'.*ALTER DATABASE \"Shop's\" SET timezone TO"
        ) as told:
            require_usable(theirs)
        execute(settings.postgres, str(told.value).split("`")[1])
        require_usable(theirs)
        execute(settings.postgres, "alter role postgres set timezone to 'Europe/London'")  # UTC in winter only
        with pytest.raises(ShopStreamsError, match="ALTER ROLE postgres SET timezone") as told:
            require_usable(theirs)
        execute(settings.postgres, str(told.value).split("`")[1])
        require_usable(theirs)
        assert os.environ["PGTZ"] == "UTC"

        for parameters in ("sslmode=require", "sslmode=wrong", "sslmode=verify-full&sslrootcert=/no/such.pem"):
            with pytest.raises(RefusesUs, match=r"SHOP_STREAMS_POSTGRES_DSN"):
                probe_postgres(settings.model_copy(update={"postgres_dsn": f"{dsn}&{parameters}"}))

        for what in ("role postgres", 'database "Shop\'s"'):
            execute(settings.postgres, f"alter {what} set default_transaction_read_only to on")
            with pytest.raises(ShopStreamsError, match=f"can only read.*(?i:ALTER {what}) SET") as told:
                require_usable(theirs)
            execute(theirs.postgres, str(told.value).split("`")[1])
            require_usable(theirs)
            execute(settings.postgres, f"alter {what} reset default_transaction_read_only")

        execute(settings.postgres, "create database latin encoding 'LATIN1' template template0 locale 'C'")
        latin = settings.postgres.replace("/postgres?", "/latin?")
        with pytest.raises(ShopStreamsError, match=r"database latin has the encoding LATIN1.*CREATE DATABASE") as told:
            require_usable(settings.model_copy(update={"postgres_dsn": latin}))
        execute(settings.postgres, str(told.value).split("`")[1])
        require_usable(
            settings.model_copy(update={"postgres_dsn": settings.postgres.replace("/postgres?", "/shop_streams?")})
        )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"version": 129_999}, "is version 12. Use 13 or later"),
        ({"standby": True, "read_only": True}, "is a standby.*the primary's address"),
        ({"encoding": "SQL_ASCII"}, None),
    ],
)
def test_a_database_that_can_not_be_used_is_named_with_the_next_step(
    changed: dict[str, object], words: str | None
) -> None:
    """Servers that can't be started here: an old one, and one that follows another."""
    good = Database(130_000, "UTF8", False, False, "UTC", True, "shop", "shop", ())
    problem = replace(good, **changed).problem()  # type: ignore[arg-type]
    assert problem is None if words is None else problem and re.search(words, problem)


def test_the_database_asks_for_its_secret_also_in_an_older_home() -> None:
    with machine("UTC") as settings:
        bare = f"postgresql://postgres@127.0.0.1:{settings.postgres_port}/postgres"
        with server(settings):
            first = settings.postgres_passfile.read_text()
            assert settings.postgres_passfile.stat().st_mode & 0o777 == 0o600
            execute(settings.postgres, "create table kept as select 1 as one")
            with pytest.raises(psycopg2.OperationalError, match="password"):
                execute(bare, "select 1")
        # What an earlier version left: everybody on the machine may come in, and there is no secret.
        settings.postgres_passfile.unlink()
        (settings.home / "postgres" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
        with server(settings):
            assert execute(settings.postgres, "select one from kept") == [(1,)]
            assert settings.postgres_passfile.read_text() != first
            with pytest.raises(psycopg2.OperationalError, match="password"):
                execute(bare, "select 1")
