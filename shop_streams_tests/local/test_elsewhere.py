"""A PostgreSQL and a Spark elsewhere, with TLS: their certificates are verified, and our own probes pass."""

import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from shop_streams import topics
from shop_streams.cli.status import without_secret
from shop_streams.local.probes import Unhealthy, probe_postgres
from shop_streams.local.stack import prepare_stores
from shop_streams.postgres import ReadPool, short_transaction, transaction
from shop_streams.settings import Settings
from shop_streams_tests.harness import free_ports
from shop_streams_tests.local.test_database import server
from shop_streams_tests.secured import make_authority, make_certificate

pytestmark = pytest.mark.servers

TLS_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL's protocol: its answer is `S`, then TLS begins


@contextmanager
def with_tls(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """A port that speaks PostgreSQL's protocol with TLS only, in front of `port`; the embedded server was built without TLS."""
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        with suppress(OSError):  # also of a client that does not trust the certificate
            if client.recv(8) != TLS_REQUEST:
                client.close()
                return
            client.sendall(b"S")
            inside = context.wrap_socket(client, server_side=True)
            database = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=copy, args=(database, inside), daemon=True).start()
            copy(inside, database)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="shop-streams-elsewhere-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def authority(folder: Path) -> Path:
    return make_authority(folder, "authority")


@pytest.fixture(scope="module")
def address(folder: Path, authority: Path) -> Iterator[str]:
    """The address of a database with TLS, without parameters."""
    home = folder / "home"
    home.mkdir(mode=0o711)
    embedded = Settings(home=home, postgres_port=free_ports(1)[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(folder, authority, "postgres"))
    with server(embedded), with_tls(embedded.postgres_port, context) as port:
        with transaction(embedded.postgres) as cursor:
            cursor.execute("create schema shop")
        password = embedded.postgres_passfile.read_text().strip().rpartition(":")[2]
        yield f"postgresql://postgres:{password}@localhost:{port}/postgres"


def verified(address: str, authority: Path, more: str = "") -> Settings:
    return Settings(
        postgres_dsn=f"{address}?sslmode=verify-full&sslrootcert={authority}{more}",
        kafka_bootstrap_servers="127.0.0.1:1",
    )


def test_a_certificate_is_verified(address: str, authority: Path, folder: Path) -> None:
    probe_postgres(verified(address, authority))
    with pytest.raises(Unhealthy, match="certificate verify failed"):
        probe_postgres(verified(address, make_authority(folder, "another")))
    other = verified(address.replace("@localhost", "@db.example"), authority, "&hostaddr=127.0.0.1")
    with pytest.raises(Unhealthy, match=r'does not match host name "db\.example"'):
        probe_postgres(other)


def test_an_address_with_options_reaches_every_table(
    address: str, authority: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tables, of Dagster too, are made in the schema that the address names, and none elsewhere."""
    settings = verified(address, authority, "&options=-csearch_path%3Dshop").model_copy(
        update={"home": folder / "other"}
    )
    settings.home.mkdir()
    monkeypatch.setattr(topics, "create_topics", lambda *_: None)
    before = dict(os.environ)
    try:
        from shop_streams.defs.domains import DOMAINS
        from shop_streams.local.prepare import prepare_dagster

        prepare_dagster(settings)
        prepare_stores(settings)
        for domain in DOMAINS:
            domain.create_shop_tables(settings.postgres)
    finally:
        os.environ.clear()
        os.environ.update(before)
    with short_transaction(settings.postgres) as cursor:
        cursor.execute("select schemaname, tablename from pg_tables where schemaname in ('shop', 'public')")
        found = {(row["schemaname"], row["tablename"]) for row in cursor.fetchall()}
    assert {("shop", name) for name in ("runs", "event_logs", "stream_leases", "subscribers_restaurants")} <= found
    assert {schema for schema, _ in found} == {"shop"}
    pool = ReadPool(settings.api_postgres, 1, 5)
    with pool.cursor() as cursor:
        cursor.execute("select count(*) from stream_leases")
        assert cursor.fetchone() == (0,)
    pool.close()
    assert address.rpartition(":")[0].rpartition(":")[2] not in without_secret(settings.postgres)


PROBES = """
from shop_streams.local.probes import probe_spark
from shop_streams.settings import get_settings
from shop_streams.streaming.query import wait_for_spark
probe_spark(get_settings())
wait_for_spark(get_settings(), 5)
"""


@pytest.mark.parametrize(
    ("parameters", "trusted", "passes"),
    [
        ("/;use_ssl=true;token=abc", True, True),
        ("/;use_ssl=true", True, True),
        ("/;use_ssl=true;token=abc", False, False),
        ("", True, False),  # without TLS
    ],
)
def test_a_spark_with_tls_passes_the_probes(
    parameters: str, trusted: bool, passes: bool, folder: Path, authority: Path
) -> None:
    certificate, key = make_certificate(folder, authority, "spark")
    spark = grpc.server(ThreadPoolExecutor(1))
    port = spark.add_secure_port(
        "localhost:0", grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    )
    spark.start()
    # gRPC reads its authorities once in a process.
    environment = os.environ | {"SHOP_STREAMS_SPARK_REMOTE": f"sc://localhost:{port}{parameters}"}
    if trusted:
        environment["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = str(authority)
    done = subprocess.run([sys.executable, "-c", PROBES], env=environment, capture_output=True, text=True, timeout=120)
    spark.stop(None)
    assert (done.returncode == 0) is passes, done.stderr
    assert passes or "no Spark Connect server answers" in done.stderr
