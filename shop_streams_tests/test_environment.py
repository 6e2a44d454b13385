"""What a person's shell has set for other programs changes nothing here."""

import os
import socket
import threading
from pathlib import Path

import psycopg2
import pytest

from shop_streams.environment import THIS_MACHINE, adapt, process_environment
from shop_streams.local import prepare
from shop_streams.local.probes import Unhealthy, probe_spark
from shop_streams.settings import Settings
from shop_streams_tests.harness import free_ports
from shop_streams_tests.local.test_database import server


def test_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def listen(name: str) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def take() -> None:
            connection, _ = listener.accept()
            asked.append(name)
            connection.close()
            listener.close()

        threading.Thread(target=take, daemon=True).start()
        return int(listener.getsockname()[1])

    settings = Settings(spark_port=listen("spark"))
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listen('proxy')}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "shop.example")
    adapt(os.environ, settings)
    with pytest.raises(Unhealthy):
        probe_spark(settings)
    assert asked == ["spark"]
    assert os.environ["no_proxy"].split(",") == ["shop.example", *THIS_MACHINE]


FOREIGN = {
    "SPARK_REMOTE": "sc://elsewhere", "SPARK_CONF_DIR": "/etc/spark", "HADOOP_CONF_DIR": "/etc/hadoop/conf", "JAVA_HOME": "/opt/jdk8", "JAVA_TOOL_OPTIONS": "-XX:+UseG1GC",
    "PGHOST": "elsewhere", "PGCHANNELBINDING": "require", "PGSSLMODE": "require", "PGCLIENTENCODING": "LATIN1", "LC_ALL": "xx_XX",
}  # fmt: skip


def test_services_of_our_own_see_nothing_that_is_meant_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    ours = process_environment(Settings())
    assert not {name for name in FOREIGN if ours.get(name) == FOREIGN[name]}
    theirs = process_environment(Settings(spark_remote="sc://cluster", postgres_dsn="postgresql://shop@db/shop"))
    assert theirs["HADOOP_CONF_DIR"] == "/etc/hadoop/conf" and theirs["PGSSLMODE"] == "require"
    assert theirs["PGCLIENTENCODING"] == "UTF8" and theirs["TZ"] == "UTC"


def test_a_database_is_made_where_the_shell_names_a_locale_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LC_ALL", raising=False)
    for name in ("LANG", "LC_TIME", "LC_MESSAGES"):
        monkeypatch.setenv(name, "xx_XX.UTF-8")
    tmp_path.chmod(0o755)
    settings = Settings(home=tmp_path / "home", postgres_port=free_ports(1)[0])
    with server(settings):
        connection = psycopg2.connect(settings.postgres)
        with connection.cursor() as cursor:
            cursor.execute("show server_encoding")
            assert cursor.fetchone() == ("UTF8",)
        connection.close()


def test_a_failing_initdb_is_reported_with_its_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    home = tmp_path / "home"
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "somebodys.file").touch()
    with pytest.raises(prepare.ShopStreamsError, match=r"(?s)initdb failed: .*not empty"):
        prepare.prepare_postgres(Settings(home=home))
