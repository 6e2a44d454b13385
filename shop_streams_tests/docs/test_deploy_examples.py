"""The examples in deploy/: nginx and systemd accept them, and what they name is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shop_streams.collector.app import Collector
from shop_streams.collector.divolte import QUERY_CHARACTERS
from shop_streams.collector.public import EVENT_BYTES
from shop_streams.settings import REPOSITORY, Settings
from shop_streams_tests.harness import free_ports

DEPLOY = REPOSITORY / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
INSTALLED = "/opt/shop_streams"
PATHS = ("/csc-event", "/event", "/divolte.js")


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def test_nginx_accepts_its_example(tmp_path: Path) -> None:
    nginx, openssl = program("nginx"), program("openssl")
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    made = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=clicks.shop.example",
        "-keyout",
        str(key),
    ]
    subprocess.run([*made, "-out", str(certificate)], check=True, capture_output=True, timeout=60)
    plain, secure = free_ports(2)
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in (
        ("/etc/nginx/tls", str(tmp_path)), ("listen 80;", f"listen 127.0.0.1:{plain};"), ("listen 443 ", f"listen 127.0.0.1:{secure} "),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    folders = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(text.replace("http {\n", f"http {{\n{folders}", 1))
    options = ["-t", "-c", str(configuration), "-g", f"pid {tmp_path}/pid;", "-e", str(tmp_path / "error.log")]
    for optional in (False, True):
        if optional:
            configuration.write_text(configuration.read_text().replace("# limit_req", "limit_req"))
        tested = subprocess.run([nginx, *options], capture_output=True, text=True, timeout=30)
        assert tested.returncode == 0 and "[warn]" not in tested.stderr, tested.stderr


def test_nginx_passes_on_the_public_paths_alone() -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    passed = dict(re.findall(r"location = (\S+) \{ proxy_pass http://collector(\S*); \}", text))
    assert text.count("proxy_pass") == len(passed)
    assert passed == dict.fromkeys(PATHS, "") | {f"/clicks{path}": path for path in PATHS}
    assert set(Collector(Settings(), None)._clicks.paths) == set(PATHS)  # type: ignore[arg-type]
    (lines,) = re.findall(r"large_client_header_buffers \d+ (\d+)k", text)
    (body,) = re.findall(r"client_max_body_size (\d+)k", text)
    assert int(lines) * 1024 > QUERY_CHARACTERS and int(body) * 1024 == EVENT_BYTES


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_a_unit(unit: Path, tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    # A checkout's path may have a space, an installed one has none.
    (tmp_path / "bin").symlink_to(Path(sys.executable).parent)
    for one in UNITS:
        text = one.read_text().replace(f"{INSTALLED}/.venv/bin", str(tmp_path / "bin"))
        (tmp_path / one.name).write_text(text)
    command = [analyze, "verify", "--man=no", str(tmp_path / unit.name)]
    tested = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    )
    if "Failed to initialize manager" in tested.stderr:
        pytest.skip(f"systemd-analyze can't work here: {tested.stderr.strip()}")
    assert tested.returncode == 0 and unit.name not in tested.stderr, tested.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_names_what_is_there(unit: Path) -> None:
    text = unit.read_text()
    for path in re.findall(rf"{INSTALLED}/(deploy/\S+)", text):
        assert (REPOSITORY / path).exists()
    for module in re.findall(r"-m (shop_streams\S*)", text):
        parts = Path(*module.split("."))
        assert any((REPOSITORY / path).exists() for path in (parts.with_suffix(".py"), parts / "__main__.py"))
    for other in re.findall(r"shop-streams-[a-z-]+\.service", text):
        assert (unit.parent / other).exists()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_survives_a_boot_before_its_stores_and_keeps_its_files_to_itself(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    assert "StartLimitIntervalSec=0" in lines
    # With `Requires`, one failed start of `prepare` would end the start of all others.
    assert not [line for line in lines if line.startswith(("Requires=", "BindsTo=", "Requisite="))]
    assert "UMask=0077" in lines and "StateDirectoryMode=0700" in lines


def test_the_environment_has_settings_alone() -> None:
    lines = (DEPLOY / "environment.example").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    others = {"SHOP_STREAMS_DAGSTER_POSTGRES", "PGPASSWORD", "DAGSTER_HOME", "TZ", "PGTZ"}
    assert names - others <= {f"SHOP_STREAMS_{field.upper()}" for field in Settings.model_fields}
    (location,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    (served,) = re.findall(
        r"-p (\d+) --location-name (\S+)", (DEPLOY / "systemd/shop-streams-dagster-code.service").read_text()
    )
    assert (str(location["grpc_server"]["port"]), location["grpc_server"]["location_name"]) == served
