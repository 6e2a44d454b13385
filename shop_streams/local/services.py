"""The services of the stack: what to prepare, the command, and the health probe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from shop_streams.collector.access import require_token
from shop_streams.local import prepare, probes
from shop_streams.local.jars import require_java, spark_home
from shop_streams.settings import Settings

DAEMON, WATCHDOG = "dagster_daemon", "watchdog"


@dataclass(frozen=True)
class Service:
    """A supervised process: its name is its log file's name and its key in `status --json`."""

    name: str
    command: list[str]
    probe: Callable[[], None]
    port_setting: str
    prepare: Callable[[], None] = lambda: None
    user: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 20
    needs_store: bool = False  # started only once Kafka and PostgreSQL answer
    environment: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, Path] = field(default_factory=dict)  # variables whose values are in files that `prepare` makes


def services(settings: Settings) -> list[Service]:
    """The services of this home in starting order, except those whose address the settings name."""
    bin_folder = Path(sys.executable).parent
    dagster_home = settings.dagster_home
    workspace = str(dagster_home / "workspace.yaml")
    socket = prepare.code_server_socket(settings)
    embedded = [
        Service(
            "kafka",
            [require_java(), f"-Xmx{settings.kafka_memory}", *settings.kafka_java_options.split(),
             "-cp", prepare.kafka_classpath(settings), "kafka.Kafka", str(settings.home / "kafka.properties")],
            lambda: probes.probe_kafka(settings),
            "kafka_port",
            lambda: prepare.prepare_kafka(settings),
        ),
        Service(
            "postgres",
            [str(prepare.POSTGRES_BINARIES / "postgres"), "-D", str(settings.home / "postgres"), "-p", str(settings.postgres_port),
             "-h", "127.0.0.1", "-k", "", "-c", "max_connections=200", "-c", "timezone=UTC", "-c", "log_timezone=UTC"],
            lambda: probes.probe_postgres(settings),
            "postgres_port",
            lambda: prepare.prepare_postgres(settings),
            user=prepare.postgres_user(),
            stop_signal="INT",  # "fast shutdown": the default would wait until all clients disconnect
        ),
        Service(
            "spark",
            [str(spark_home() / "bin" / "spark-submit"),
             "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
             "--properties-file", str(settings.home / "spark.conf"), "spark-internal"],
            lambda: probes.probe_spark(settings),
            "spark_port",
            lambda: prepare.prepare_spark(settings),
            stop_seconds=90,  # the first stop writes the class archive
            environment={
                "SPARK_HOME": str(spark_home()),
                "PYSPARK_PYTHON": str(prepare.spark_python(settings)),
                "SPARK_LOCAL_IP": "127.0.0.1",
            },
            secrets={"SPARK_CONNECT_AUTHENTICATE_TOKEN": settings.spark_token_file},  # foreachBatch's workers inherit it
        ),
    ]  # fmt: skip
    others = [
        Service(
            "collector", [sys.executable, "-m", "shop_streams.collector"],
            lambda: probes.probe_http(f"{settings.collector_url}/readyz"), "collector_port",
            lambda: require_token(settings), needs_store=True,
        ),
        Service(
            "api", [sys.executable, "-m", "shop_streams.api"],
            lambda: probes.probe_http(f"{settings.api_url}/healthz"), "api_port", needs_store=True,
        ),
        Service(
            "dagster_code_server",
            [sys.executable, "-m", "shop_streams.local.code_server", "api", "grpc", "-m", "shop_streams.definitions",
             "-s", str(socket), "--location-name", "shop_streams"],
            lambda: probes.probe_code_server(f"unix:{socket}"), "", lambda: prepare.prepare_dagster(settings), needs_store=True,
            stop_signal="KILL",  # on TERM it waits for its runs, and streams never end; `down` has ended them before
        ),
        Service(
            "dagster_webserver",
            [sys.executable, "-m", "shop_streams.local.webserver", "-w", workspace, "-h", "127.0.0.1"],
            lambda: probes.probe_http(f"{settings.dagster_url}/server_info"), "dagster_port",
            needs_store=True,
        ),
        Service(
            DAEMON, [str(bin_folder / "dagster-daemon"), "run", "-w", workspace],
            lambda: probes.probe_daemon(settings), "", needs_store=True,
        ),
        Service(
            WATCHDOG, [sys.executable, "-m", "shop_streams.local.watchdog"],
            lambda: probes.probe_watchdog(settings), "", needs_store=True,
        ),
    ]  # fmt: skip
    shop = Service(
        "demo_shop", [sys.executable, "-m", "shop_streams.local.demo_shop"],
        lambda: probes.probe_http(f"{settings.demo_shop_url}/livez"), "demo_shop_port",
    )  # fmt: skip
    return [service for service in embedded if settings.embedded[service.name]] + others + [shop] * settings.demo_shop


def external_probes(settings: Settings) -> dict[str, Callable[[], None]]:
    """Probes of the services whose address the settings name."""
    found = {"kafka": probes.probe_kafka, "postgres": probes.probe_postgres, "spark": probes.probe_spark}
    return {name: partial(probe, settings) for name, probe in found.items() if not settings.embedded[name]}


def of_stores(probes: Mapping[str, Callable[[], None]]) -> dict[str, Callable[[], None]]:
    """Those of the probes that must pass before tables and topics are made: of Kafka and of PostgreSQL."""
    return {name: probe for name, probe in probes.items() if name in ("kafka", "postgres")}
