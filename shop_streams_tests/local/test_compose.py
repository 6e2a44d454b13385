"""docker-compose.yml can't be started where this is tested; what it names of this project is there."""

import importlib
import importlib.util
from itertools import pairwise
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
