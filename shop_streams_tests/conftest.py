"""One real stack for the whole suite, and one broker alone for what needs no more."""

import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pyspark.errors import PySparkException

from shop_streams.settings import Settings
from shop_streams_tests.broker import running_broker
from shop_streams_tests.harness import Stack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with running_stack(LEASE_SECONDS="12", SPARK_MEMORY="2g") as running:
        yield running


@pytest.fixture(autouse=True)
def no_spark_session_is_left() -> Iterator[None]:
    """A session that a test leaves open is everybody's in this process, and its server may be stopped by the next test."""
    yield
    connect = sys.modules.get("pyspark.sql.connect.session")
    if connect is not None and (session := connect.SparkSession.getActiveSession()) is not None:
        with suppress(PySparkException):  # of a server that is gone
            session.stop()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running_broker() as broker:
        yield broker.settings.model_copy(update={"lake_uri": str(tmp_path_factory.mktemp("lake"))})


SERVERS = {"stack", "kafka", "broker"}  # fixtures that start one


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests that need no server, no browser and no JVM")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--fast`, leave out what starts a server: by a fixture, or marked `servers`."""
    if not config.getoption("--fast"):
        return
    slow = [
        item for item in items if SERVERS & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("servers")
    ]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]
