"""One PostgreSQL for all tests of this folder, as `up` prepares it, and the API over it."""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from shop_streams.api.app import build_app
from shop_streams.local.api_role import prepare_api_role
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases
from shop_streams_tests.harness import answering, free_ports
from shop_streams_tests.local.test_database import execute, server

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette's advice of another client than httpx
    from starlette.testclient import TestClient

TABLES = """
create table {name} (
    ts int, url text, item_id text, count int not null, {last} float8 not null, primary key (ts, url, item_id)
)
"""


def create_tables(settings: Settings) -> None:
    """As the mart of clickstream creates them."""
    execute(
        settings.postgres, TABLES.format(name="users", last="deep") + ";" + TABLES.format(name="orders", last="sum")
    )


def prepare(settings: Settings) -> None:
    """What `up` does to the database, in its order."""
    prepare_api_role(settings)
    Leases(settings.postgres).create_table()


@contextmanager
def new_home() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="shop streams 5% ") as folder:
        yield Settings(home=Path(folder), postgres_port=free_ports(1)[0], api_connections=3, api_query_seconds=3)


@contextmanager
def serving(settings: Settings) -> Iterator[TestClient]:
    """The API in this process. An error in it is an answer, as for a real client."""
    with TestClient(build_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(autouse=True)
def psycopg2_as_others_use_it() -> Iterator[None]:
    """The API's pool makes the whole process wait in its own way."""
    yield
    psycopg2.extensions.set_wait_callback(None)


@pytest.fixture(scope="package")
def database() -> Iterator[Settings]:
    with new_home() as settings, server(settings):
        prepare(settings)
        create_tables(settings)
        yield settings


@pytest.fixture
def tables(database: Settings) -> Settings:
    """The database with both tables empty."""
    execute(database.postgres, "truncate users; truncate orders")
    return database


@pytest.fixture
def api(tables: Settings) -> Iterator[TestClient]:
    with serving(tables) as client:
        yield client


@pytest.fixture(scope="package")
def api_url(database: Settings) -> Iterator[str]:
    """The address of the API as a process of its own."""
    settings = database.model_copy(update={"api_port": free_ports(1)[0]})
    command = [sys.executable, "-m", "shop_streams.api"]
    with answering(command, settings.environment(), f"{settings.api_url}/healthz", stderr=subprocess.DEVNULL):
        yield settings.api_url
