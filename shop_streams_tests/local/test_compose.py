"""docker-compose.yml can't be started where this is tested; what it names of this project is there."""

import importlib
import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop_streams.settings import REPOSITORY, Settings

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]


def words(service: dict[str, Any]) -> list[list[str]]:
    commands = [service.get("command", []), service.get("healthcheck", {}).get("test", [])]
    return [command for command in commands if isinstance(command, list)]


@pytest.mark.parametrize("name", SERVICES)
def test_every_setting_has_a_reader(name: str) -> None:
    others = {"DAGSTER_POSTGRES"}  # dagster.yaml reads it
    environment = SERVICES[name].get("environment", {})
    ours = {key.removeprefix("SHOP_STREAMS_") for key in environment if key.startswith("SHOP_STREAMS_")}
    assert ours - others <= {field.upper() for field in Settings.model_fields}


def test_every_part_is_in_utc() -> None:
    image = (REPOSITORY / "Dockerfile").read_text()
    assert re.search(r"^ENV TZ=UTC PGTZ=UTC$", image, re.MULTILINE), "for all that are made of our image"
    assert "timezone=UTC" in SERVICES["postgres"]["command"] and SERVICES["kafka"]["environment"]["TZ"] == "UTC"
    for service in SERVICES.values():
        assert service.get("environment", {}).get("TZ", "UTC") == "UTC"


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_open_to_others(name: str) -> None:
    assert not [port for port in SERVICES[name].get("ports", []) if not str(port).startswith("127.0.0.1:")]


def test_the_setting_of_the_token_is_the_collectors_alone() -> None:
    assert [name for name, one in SERVICES.items() if "TRACK_TOKEN" in str(one.get("environment"))] == ["collector"]


def test_what_the_image_takes_from_the_checkout_is_not_ignored() -> None:
    taken = re.findall(r"^COPY (.+) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    kept = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(kept) == sorted(" ".join(taken).split())
    assert all((REPOSITORY / path).exists() for path in kept)


def test_all_parts_of_dagster_share_a_home() -> None:
    """The runs' logs, Dagster's configuration, and the stack's id are there."""
    shared = {name for name, one in SERVICES.items() if "home:/var/lib/shop_streams" in one.get("volumes", [])}
    assert shared == {"prepare", "dagster-code", "dagster-webserver", "dagster-daemon"}
    image = (REPOSITORY / "Dockerfile").read_text()
    home, dagster = re.findall(r"SHOP_STREAMS_HOME=(\S+) DAGSTER_HOME=(\S+)", image)[0]
    assert Path(dagster) == Settings(home=home).dagster_home and home == "/var/lib/shop_streams"
    (location,) = yaml.safe_load((REPOSITORY / "deploy/workspace.compose.yaml").read_text())["load_from"]
    assert location["grpc_server"]["host"] in SERVICES
    assert str(location["grpc_server"]["port"]) in SERVICES[location["grpc_server"]["host"]]["command"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_module_and_probe_exists(name: str) -> None:
    for command in words(SERVICES[name]):
        for flag, value in pairwise(command):
            if flag == "-m" and value.startswith("shop_streams"):
                assert importlib.util.find_spec(value), value
            if flag == "-c" and "import" in value:
                imports = [line.strip() for line in value.split(";") if " import " in line]
                for line in imports:
                    _, module, _, wanted = line.split()
                    assert hasattr(importlib.import_module(module), wanted), line


@pytest.mark.parametrize("part", ["COLLECTOR", "API", "DAGSTER"])
def test_a_part_listens_where_its_port_is_open_whatever_env_says(part: str) -> None:
    name = f"SHOP_STREAMS_{part}_PORT"
    moved = re.sub(rf"\$\{{{name}:-\d+\}}", "1234", (REPOSITORY / "docker-compose.yml").read_text())
    services = yaml.safe_load(moved)["services"]
    (service,) = [one for one in services.values() if "127.0.0.1:1234:1234" in one.get("ports", [])]
    assert service["environment"][name] == 1234
    assert str(Settings.model_fields[f"{part.lower()}_port"].default) not in str(service)
