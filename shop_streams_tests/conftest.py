"""One real stack for the whole suite, and one broker for tests that need nothing else."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from xdist.scheduler import LoadFileScheduling

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
    if any("stack" in getattr(item, "fixturenames", ()) for item in request.session.items):
        stack: Stack = request.getfixturevalue("stack")
        return open_session(stack.settings)
    local: SparkSession = request.getfixturevalue("local_session")
    return local


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running_broker() as broker:
        yield broker.settings.model_copy(update={"lake_uri": str(tmp_path_factory.mktemp("lake"))})


ROOT = Path(__file__).parents[1]
SERVERS = {"stack", "kafka", "broker"}  # fixtures that start one


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests that need no server and no browser")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--fast`, leave out what starts a server: by a fixture, or marked `servers`."""
    if not config.getoption("--fast"):
        return
    slow = [
        item for item in items if SERVERS & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("servers")
    ]
    config.hook.pytest_deselected(items=slow)
    # Spark's tests come first: they are the longest part of one worker's work.
    fast = [item for item in items if item not in slow]
    items[:] = sorted(fast, key=lambda item: not with_spark(item.nodeid))


@cache
def _has_spark(file: Path) -> bool:
    return "spark: SparkSession" in file.read_text()


def with_spark(nodeid: str) -> bool:
    """Whether the test's file has tests that start Spark. Only the file is known to the process that distributes tests."""
    return _has_spark(ROOT / nodeid.split("::")[0])


class OneSpark(LoadFileScheduling):
    """`--dist loadfile`, and all files with tests of Spark go to one worker, so that only one starts a JVM."""

    def _split_scope(self, nodeid: str) -> str:
        return "spark" if with_spark(nodeid) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return OneSpark(config, log) if config.getoption("dist") == "loadfile" else None
