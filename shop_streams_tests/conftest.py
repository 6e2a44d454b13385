"""One real stack for the whole suite, and one broker for tests that need nothing else."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from shop_streams.local.class_archive import archive_of
from shop_streams.settings import Settings, get_settings
from shop_streams.spark import open_session
from shop_streams_tests.broker import running_broker
from shop_streams_tests.harness import COLD_START, Stack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with running_stack(LEASE_SECONDS="12", SPARK_MEMORY="2g") as running:
        yield running


@pytest.fixture(autouse=True)
def no_spark_session_is_left() -> Iterator[None]:
    """Stop the Spark session that a test leaves open: later tests would get it, and its server may be gone by then."""
    yield
    connect = sys.modules.get("pyspark.sql.connect.session")
    if connect is not None and (session := connect.SparkSession.getActiveSession()) is not None:
        with suppress(PySparkException):  # of a server that is gone
            session.stop()


@pytest.fixture
def fresh_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As in a new shell in an empty folder: nothing of the suite's stack is set. Returns that folder; the home is in it."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SHOP_STREAMS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SHOP_STREAMS_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture(scope="session")
def local_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Spark in a JVM of this process: half a minute sooner there than a stack."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        options: dict[str, bool | float | int | str | None] = {
            "spark.ui.enabled": "false",
            "spark.log.level": "ERROR",
            "spark.driver.extraJavaOptions": COLD_START,
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "1",
            "spark.sql.codegen.wholeStage": "false",  # to compile each plan takes longer than a few rows do
            "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        }
        jars = get_settings().jars / "spark"
        if jars.is_dir():  # classes as set-up archived them, and the class path that they fit: 6 s of work instead of 9
            archive = archive_of(get_settings())
            options["spark.driver.extraClassPath"] = f"{jars}/*"
            options["spark.driver.extraJavaOptions"] = f'{COLD_START} "-XX:SharedArchiveFile={archive}"'
        session = SparkSession.builder.master("local[1]").config(map=options).getOrCreate()
        yield session
        session.stop()


@pytest.fixture
def spark(request: pytest.FixtureRequest) -> SparkSession:
    """A session for what needs no other server: the stack's where one runs anyway, since a process has one kind alone."""
    if any("stack" in fixtures_of(item) for item in request.session.items):
        stack: Stack = request.getfixturevalue("stack")
        return open_session(stack.settings)
    local: SparkSession = request.getfixturevalue("local_session")
    return local


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running_broker() as broker:
        yield broker.settings.model_copy(update={"lake_uri": str(tmp_path_factory.mktemp("lake"))})


SERVERS = {"stack", "kafka", "broker"}  # fixtures that start one


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests that need no server and no browser")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what starts a server with `--fast`, and group the tests for two workers (`--dist loadgroup`).

    One worker has the files with tests of the stack and of Spark, so there is one of each; the other one has the rest. A
    file's tests stay together.
    """
    if config.getoption("--fast"):
        slow = [item for item in items if SERVERS & fixtures_of(item) or item.get_closest_marker("servers")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    heavy = {
        item.path for item in items if {"stack", "spark"} & fixtures_of(item) or item.get_closest_marker("xdist_group")
    }
    items.sort(key=lambda item: item.path not in heavy)  # the longest part begins first
    for item in items:
        item.add_marker(pytest.mark.xdist_group("stack" if item.path in heavy else item.path.name))


def fixtures_of(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))
