"""What goes wrong on a fresh machine is one clear line with the next step."""

import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import pytest

from shop_streams.cli import main
from shop_streams.errors import ShopStreamsError
from shop_streams.local.jars import parse_java_version
from shop_streams.streaming.patience import DATABASE_ERRORS
from shop_streams_tests.harness import COMMAND, PORTS, free_ports


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, env=os.environ | environment, timeout=60)


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25" 2025-09-16', 25),
    ],
)
def test_java_versions(text: str, major: int) -> None:
    assert parse_java_version(text) == major


def test_unreadable_java_version() -> None:
    with pytest.raises(ShopStreamsError, match="install a JDK 17"):
        parse_java_version("command not found")


def test_missing_and_old_java(tmp_path: Path) -> None:
    answer = run("up", PATH=str(tmp_path), SHOP_STREAMS_HOME=str(tmp_path / "home"))
    assert answer.returncode == 1 and "Java is missing" in answer.stderr and "17" in answer.stderr
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    answer = run("up", PATH=f"{tmp_path}:/usr/bin:/bin", SHOP_STREAMS_HOME=str(tmp_path / "home"))
    assert answer.returncode == 1 and "Java 11" in answer.stderr and "too old" in answer.stderr


def test_a_kafka_that_does_not_answer_is_one_line_with_its_address(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    away = {"SHOP_STREAMS_HOME": str(tmp_path), "SHOP_STREAMS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
    answer = run("recover", "shop_events_ingest", **away)
    assert answer.returncode == 1 and answer.stderr.count("\n") == 1
    assert answer.stderr.startswith(f"error: Kafka does not answer at 127.0.0.1:{port}. Is it up?")


@pytest.mark.parametrize("kind", DATABASE_ERRORS)
def test_what_postgresql_answers_is_an_error_with_the_next_step(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "app", Mock(side_effect=kind("the server closed the connection\n")))
    assert main._run() == 1
    assert capsys.readouterr().err.startswith("error: PostgreSQL did not answer, or refused: the server closed")
    monkeypatch.setattr(main, "app", Mock(side_effect=ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):
        main._run()


def test_taken_port_names_its_variable(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        others = [name for name in PORTS if name != "collector"]
        ports = {
            f"SHOP_STREAMS_{name.upper()}_PORT": str(free)
            for name, free in zip(others, free_ports(len(others)), strict=True)
        }
        answer = run(
            "up", "--detach", SHOP_STREAMS_HOME=str(tmp_path / "home"), SHOP_STREAMS_COLLECTOR_PORT=port, **ports
        )
    assert answer.returncode == 1
    assert f"Port {port} (collector) is taken" in answer.stderr.replace("\n", " ")
    assert "SHOP_STREAMS_COLLECTOR_PORT" in answer.stderr


def test_all_taken_ports_are_named_at_once(tmp_path: Path) -> None:
    with socket.socket() as one, socket.socket() as two:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        for taken, name in ((one, "kafka_controller"), (two, "dagster")):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            ports[name] = taken.getsockname()[1]
        ports["api"] = ports["collector"]
        given = {f"SHOP_STREAMS_{name.upper()}_PORT": str(port) for name, port in ports.items()}
        answer = run("up", "--detach", SHOP_STREAMS_HOME=str(tmp_path / "home"), **given)
    assert answer.returncode == 1 and answer.stderr.count("\n") == 1
    assert f"Port {ports['kafka_controller']} (kafka controller) is taken" in answer.stderr
    assert f"Port {ports['dagster']} (dagster) is taken" in answer.stderr
    variables = ("KAFKA_CONTROLLER", "DAGSTER", "API", "COLLECTOR")
    assert all(f"SHOP_STREAMS_{name}_PORT" in answer.stderr.split("set ")[1] for name in variables)


class Refusing(BaseHTTPRequestHandler):
    """A collector that does not know the token."""

    def do_POST(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_wrong_token_is_one_line(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        port = str(collector.server_address[1])
        given = {"SHOP_STREAMS_HOME": str(tmp_path / "home"), "SHOP_STREAMS_COLLECTOR_PORT": port}
        answer = run("simulate", "sales", "--count", "50", **given)
        collector.shutdown()
    assert answer.returncode == 1 and answer.stderr.count("\n") == 1, answer.stderr
    assert answer.stderr.startswith(
        f"error: The collector at http://127.0.0.1:{port} refuses the token (401). Set SHOP_STR"
    )


def test_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = run("up", SHOP_STREAMS_HOME=str(tmp_path / "file" / "home"))
    assert answer.returncode == 1 and "can't be written" in answer.stderr and "SHOP_STREAMS_HOME" in answer.stderr


def test_unknown_table_and_domain(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    assert "There is no table 'sales/nothing'" in run("show", "sales/nothing", SHOP_STREAMS_HOME=home).stderr
    assert (
        "choose one of app_events, clickstream, community, promotions"
        in run("simulate", "nothing", "--count", "1", SHOP_STREAMS_HOME=home).stderr
    )


def test_status_of_a_home_that_is_not_there_says_so(tmp_path: Path) -> None:
    answer = run("status", SHOP_STREAMS_HOME=str(tmp_path / "home"))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith(f"error: There is no home {tmp_path / 'home'}, so nothing runs.")
    assert not (tmp_path / "home").exists()


def test_status_of_a_stopped_home_does_not_guess(tmp_path: Path) -> None:
    answer = run("status", "--json", SHOP_STREAMS_HOME=str(tmp_path))
    assert {stream["says"] for stream in json.loads(answer.stdout)["streams"].values()} == {"the stack is stopped"}


@pytest.mark.parametrize("module", ["shop_streams.collector", "shop_streams.api", "shop_streams.cli.main"])
def test_each_process_says_in_one_line_what_is_wrong_with_a_setting(module: str, tmp_path: Path) -> None:
    wrong = {"SHOP_STREAMS_COLECTOR_PORT": "1", "SHOP_STREAMS_HOME": str(tmp_path)}
    command = [sys.executable, "-m", module, *(["status"] if module.endswith("cli.main") else [])]
    answer = subprocess.run(command, env=os.environ | wrong, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert "SHOP_STREAMS_COLECTOR_PORT" in answer.stderr and "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
