"""A process's environment variables in order: what a shell has set for other programs must not change what ours do."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shop_streams.settings import Settings

DAGSTER_POSTGRES = "SHOP_STREAMS_DAGSTER_POSTGRES"  # what Dagster's own dagster.yaml reads; not a setting
SUPERVISED_MARK = "SHOP_STREAMS_SUPERVISED_BY"  # tells a home's own processes from a developer's shell
UNIFORM = {
    # Dagster stores naive times, which PostgreSQL turns by its session's zone: every process and each session is in UTC.
    "TZ": "UTC",
    "PGTZ": "UTC",
    "PGCLIENTENCODING": "UTF8",
    # Java takes the encoding of file names from the locale, and initdb stops at one that this machine has not.
    "LC_ALL": "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8",
}
# gRPC, and Dagster's client, call this machine through a proxy where nobody tells them not to.
NO_PROXY = ("no_proxy", "NO_PROXY")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
# Another Spark's, Hadoop's or Java's: spark-submit puts their folders on its class path, or refuses to start.
FOREIGN_SPARK = (
    "SPARK_REMOTE", "SPARK_HOME", "SPARK_CONF_DIR", "SPARK_DIST_CLASSPATH", "SPARK_SUBMIT_OPTS", "SPARK_LOCAL_DIRS",
    "SPARK_DAEMON_JAVA_OPTS", "PYSPARK_SUBMIT_ARGS", "PYSPARK_DRIVER_PYTHON", "HADOOP_CONF_DIR", "YARN_CONF_DIR", "HADOOP_HOME",
)  # fmt: skip
# The optimizing compiler stays on: without it Spark takes in less than half. On one or two cores Java's usual collector only
# takes threads from the work; SerialGC has none of its own. And code is optimized after 40 times as many calls as usual: what
# carries records gets there within a second, what only starts never does. A restart of Spark with four streams then takes
# 6 core-seconds of the optimizing compiler instead of 19, and `aggregate` stays as fast (`make bench ARGS="restart aggregate"`).
SMALL_MACHINE = (
    "-XX:+UseSerialGC -XX:+IgnoreUnrecognizedVMOptions -XX:Tier4InvocationThreshold=200000"
    " -XX:Tier4MinInvocationThreshold=24000 -XX:Tier4CompileThreshold=600000 -XX:Tier4BackEdgeThreshold=1600000"
)


def adapt(environment: MutableMapping[str, str], settings: Settings) -> None:
    """Put a process's environment in order: UTC, UTF-8, no proxy to this machine, and no database's but our own address."""
    if settings.embedded["postgres"]:  # libpq prefers its variables to the address and the passfile of a DSN
        for name in [name for name in environment if name.startswith("PG")]:
            del environment[name]
    if settings.embedded["spark"]:
        # The Java that is checked is the one on the PATH, and must be the one that starts.
        environment.pop("JAVA_HOME", None)
    environment.update(UNIFORM)
    # Of the two spellings most programs read one: both name all that either did.
    named = [host.strip() for name in NO_PROXY for host in environment.get(name, "").split(",") if host.strip()]
    environment.update(dict.fromkeys(NO_PROXY, ",".join(dict.fromkeys([*named, *THIS_MACHINE]))))


def process_environment(settings: Settings) -> dict[str, str]:
    """The whole environment for a service's process: this process's own, the settings, and Dagster's home."""
    environment = {
        **os.environ,
        **settings.environment(),
        "DAGSTER_HOME": str(settings.dagster_home),
        DAGSTER_POSTGRES: settings.postgres,
        "PYTHONUNBUFFERED": "1",
        SUPERVISED_MARK: str(settings.home),
    }
    if settings.embedded["spark"]:
        for name in FOREIGN_SPARK:
            environment.pop(name, None)
    adapt(environment, settings)
    return environment
