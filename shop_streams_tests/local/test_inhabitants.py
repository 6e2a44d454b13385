"""What others on the same machine can reach of a running stack: nothing without its owner's secrets."""

import ipaddress
import json
import os
import stat
from pathlib import Path

import psutil
import psycopg2
import pytest
from pyspark.errors.exceptions.connect import SparkConnectException
from pyspark.sql.connect.client.core import SparkConnectClient

from shop_streams.cli.status import collect
from shop_streams.local.prepare import runtime_folder
from shop_streams.local.supervision import processes_of
from shop_streams.settings import Settings
from shop_streams_tests.harness import PORTS, Stack


def listening(stack: Stack) -> list[tuple[str, str, int]]:
    """(program, address, port) of every TCP and UDP socket that waits for others."""
    found = []
    for process in processes_of(stack.settings):
        try:
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN or (connection.laddr and not connection.raddr):
                    found.append((process.name(), connection.laddr.ip, connection.laddr.port))
        except psutil.NoSuchProcess:
            continue
    return found


def test_every_listening_socket_is_on_loopback(stack: Stack) -> None:
    sockets = listening(stack)
    ports = {port for _, _, port in sockets}
    assert {getattr(stack.settings, f"{name}_port") for name in PORTS} <= ports, "the test sees the stack's sockets"
    outside = [
        (program, address, port)
        for program, address, port in sockets
        if not (
            getattr(ipaddress.ip_address(address), "ipv4_mapped", None) or ipaddress.ip_address(address)
        ).is_loopback
    ]
    assert outside == []


def test_home_sockets_and_secrets_are_the_owners_alone(stack: Stack) -> None:
    home = stack.settings.home
    passed = 0o711 if os.geteuid() == 0 else 0o700  # PostgreSQL runs as another user where we are root
    assert stat.S_IMODE(home.stat().st_mode) == passed
    open_to_others = []
    for path in [*home.iterdir(), runtime_folder(stack.settings)]:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            open_to_others.append((path.name, oct(mode)))
    assert open_to_others == []
    for secret in ("stack.env", "postgres.pass", "spark.token", "supervisord.conf"):
        assert stat.S_IMODE((home / secret).stat().st_mode) == 0o600, secret


def test_status_shows_no_secret_and_its_dsn_works_for_the_owner(stack: Stack) -> None:
    settings = stack.settings
    secrets = [
        settings.track_token,
        settings.postgres_passfile.read_text().strip().rsplit(":", 1)[1],
        settings.spark_token_file.read_text().strip(),
    ]
    shown = stack.cli("status", "--json").stdout
    for text in (shown, stack.cli("status").stdout):
        assert not [secret for secret in secrets if secret in text]
    psycopg2.connect(json.loads(shown)["endpoints"]["postgres_dsn"]).close()
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(settings.postgres.split("?")[0])


@pytest.mark.parametrize("token", [None, "wrong"])
def test_spark_asks_for_its_secret(stack: Stack, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARK_CONNECT_AUTHENTICATE_TOKEN", raising=False)
    client = SparkConnectClient(stack.settings.spark + (f"/;token={token}" if token else ""))
    try:
        with pytest.raises(SparkConnectException, match=r"(?i)authentication token"):
            client.get_configs("spark.sql.session.timeZone")
    finally:
        client.close()


def test_a_stopped_home_does_not_tell_what_another_one_at_its_ports_does(stack: Stack, tmp_path: Path) -> None:
    """The stopped home has the running one's ports and database."""
    settings = stack.settings
    stopped = Settings(
        home=tmp_path / "stopped", **{f"{name}_port": getattr(settings, f"{name}_port") for name in PORTS}
    )
    state = collect(stopped)
    assert {service["state"] for service in state["services"].values()} == {"stopped"}
    assert {stream["run_id"] for stream in state["streams"].values()} == {None}
    assert {stream["state"] for stream in state["streams"].values()} == {"resting"}
    assert {totals["offsets"] for totals in state["topics"].values()} == {None}
    assert collect(settings)["topics"]["events"]["offsets"] is not None
