"""The environment variables of our processes. A shell's variables for other programs must not change what ours do."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, MutableMapping
from typing import TYPE_CHECKING

from shop_streams.errors import ShopStreamsError

if TYPE_CHECKING:
    from shop_streams.settings import Settings

PREFIX = "SHOP_STREAMS_"
DAGSTER_POSTGRES = "SHOP_STREAMS_DAGSTER_POSTGRES"  # read by dagster.yaml; not a setting
SUPERVISED_MARK = "SHOP_STREAMS_SUPERVISED_BY"  # tells a home's own processes from a developer's shell
UNIFORM = {
    # Dagster stores times without a zone, and PostgreSQL converts them with the session's zone. All of them must be UTC.
    "TZ": "UTC",
    "PGTZ": "UTC",
    "PGCLIENTENCODING": "UTF8",
    # Java reads the encoding of file names from the locale. initdb fails if the locale is not installed.
    "LC_ALL": "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8",
}
# Without these variables, gRPC and Dagster's client call this machine through the proxy.
NO_PROXY = ("no_proxy", "NO_PROXY")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
# Variables of another Spark, Hadoop or Java. With them, spark-submit loads foreign jars or does not start.
FOREIGN_SPARK = (
    "SPARK_REMOTE", "SPARK_HOME", "SPARK_CONF_DIR", "SPARK_DIST_CLASSPATH", "SPARK_SUBMIT_OPTS", "SPARK_LOCAL_DIRS",
    "SPARK_DAEMON_JAVA_OPTS", "PYSPARK_SUBMIT_ARGS", "PYSPARK_DRIVER_PYTHON", "HADOOP_CONF_DIR", "YARN_CONF_DIR", "HADOOP_HOME",
)  # fmt: skip
# Options of another Java program. A second choice of the garbage collector keeps a server from its start.
FOREIGN_JAVA = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
# Java options for one or two cores. SerialGC needs no threads beside the work. The optimizing compiler (C2) compiles a
# method after 40 times as many calls as usual: code that processes records gets there within a second, code that only
# starts Spark does not. A restart of Spark with four streams then costs 6 core-seconds of C2 instead of 19, and
# `aggregate` stays as fast (`make bench ARGS="restart aggregate"`). Without C2, Spark ingests less than half. Of the first 50
# core-seconds of Kafka, C2 took 21.
_SMALL_MACHINE = (
    "-XX:+UseSerialGC -XX:+IgnoreUnrecognizedVMOptions -XX:Tier4InvocationThreshold=200000"
    " -XX:Tier4MinInvocationThreshold=24000 -XX:Tier4CompileThreshold=600000 -XX:Tier4BackEdgeThreshold=1600000"
)


def java_options() -> str:
    """The default options of Java for the stack's servers on this machine."""
    return _SMALL_MACHINE if (os.cpu_count() or 1) <= 2 else ""


def adapt(environment: MutableMapping[str, str], settings: Settings) -> None:
    """Change `environment` in place: UTC, UTF-8, no proxy for this machine, no variables of another PostgreSQL or Java."""
    if settings.embedded["postgres"]:  # libpq's variables may override the DSN
        for name in [name for name in environment if name.startswith("PG")]:
            del environment[name]
    if settings.embedded["spark"]:
        # The preflight checks the Java on the PATH, so Spark must start with that one.
        environment.pop("JAVA_HOME", None)
    environment.update(UNIFORM)
    # Most programs read one of the two spellings only, so both get the hosts of both.
    named = [host.strip() for name in NO_PROXY for host in environment.get(name, "").split(",") if host.strip()]
    environment.update(dict.fromkeys(NO_PROXY, ",".join(dict.fromkeys([*named, *THIS_MACHINE]))))


def process_environment(settings: Settings) -> dict[str, str]:
    """The whole environment of a service's process: this process's environment, the settings, and Dagster's home."""
    environment = {
        **os.environ,
        **settings.environment(),
        "DAGSTER_HOME": str(settings.dagster_home),
        DAGSTER_POSTGRES: settings.postgres,
        "PYTHONUNBUFFERED": "1",
        SUPERVISED_MARK: str(settings.home),
    }
    for name in [*FOREIGN_JAVA, *(FOREIGN_SPARK if settings.embedded["spark"] else ())]:
        environment.pop(name, None)
    adapt(environment, settings)
    return environment


def check_names(names: Iterable[str], fields: Iterable[str]) -> None:
    """Refuse variables with our prefix that are no setting; `fields` are the settings without it.

    Raises:
        ShopStreamsError: names each such variable, with the nearest setting.
    """
    known = {f"{PREFIX}{field.upper()}" for field in fields} | {SUPERVISED_MARK, DAGSTER_POSTGRES}
    problems = []
    for name in sorted({name.upper() for name in names}):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.8)
            problems.append(f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else "."))
    if problems:
        raise ShopStreamsError(f"{' '.join(problems)} Correct or unset it; docs/deploy.md lists the settings.")
