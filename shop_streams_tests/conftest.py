"""One real stack for the whole suite, and one broker for tests that need nothing else."""

import shop_streams_tests.clean_home  # noqa: F401

# isort: split

import os
import re
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
    """A session for what needs no other server: the stack's where this process has one, since a process has one kind alone."""
    apart = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") != "1"  # then the stack's tests are another worker's
    ours = not apart or scope_of(request.node.nodeid) == "stack"
    if ours and any("stack" in fixtures_of(item) for item in request.session.items):
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
    parser.addoption("--long", action="store_true", help="also the longest tests: kills and restores of a whole stack")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what starts a server, by a fixture or marked `servers`, with `--fast`, and `long` tests without `--long`.

    The heaviest files come first.
    """
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    if config.getoption("--fast"):
        slow = [item for item in items if SERVERS & fixtures_of(item) or item.get_closest_marker("servers")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    # A stack of a test's own comes before the suite's: two at once are slow.
    order = ("stack", "spark", "")
    items.sort(key=lambda item: (order.index(scope_of(item.nodeid)), item.get_closest_marker("own_stack") is None))
    hidden = {item.nodeid for item in items if {"stack", "spark"} & fixtures_of(item) and not scope_of(item.nodeid)}
    if hidden:  # each worker would start a stack
        raise pytest.UsageError(f"these use the stack through another fixture; mark them with_stack: {sorted(hidden)}")


def fixtures_of(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


@cache
def _scope_of(file: Path) -> str:
    text = file.read_text()
    if re.search(r"\bstack: Stack\b|\bmark\.(with|own)_stack\b", text):
        return "stack"
    return "spark" if re.search(r"\bspark: SparkSession\b", text) else ""


def scope_of(nodeid: str) -> str:
    """What the tests of a file share: the suite's "stack", "spark" alone, or "" for nothing.

    Only the file is known to the process that distributes tests.
    """
    return _scope_of(ROOT / nodeid.split("::")[0])


class OneStack(LoadFileScheduling):
    """`--dist loadfile`, with one stack and one Spark without a stack.

    All files with tests of the stack go to one worker, and all with tests of Spark alone to another: each worker gets its
    first file at the start, and these two come first.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid) or super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return OneStack(config, log) if config.getoption("dist") == "loadfile" else None
