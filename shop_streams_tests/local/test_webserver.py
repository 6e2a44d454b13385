"""The UI answers its own pages and programs on this machine, and no page of anybody else."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from shop_streams.local.webserver import is_allowed
from shop_streams_tests.harness import answering, free_ports

pytestmark = pytest.mark.servers

HOSTS = ("127.0.0.1:3000", "localhost:3000")


@pytest.mark.parametrize(
    ("right", "kind", "method", "path", "query", "headers"),
    [
        (True, "http", "GET", "/runs", b"", {"host": "127.0.0.1:3000"}),
        (True, "http", "GET", "/assets/x", b"view=overview", {"host": "localhost:3000"}),
        (True, "http", "POST", "/graphql", b"", {"host": "127.0.0.1:3000"}),
        (True, "http", "POST", "/graphql", b"", {"host": "127.0.0.1:3000", "origin": "http://127.0.0.1:3000"}),
        (True, "http", "GET", "/graphql", b"", {"host": "127.0.0.1:3000"}),
        (True, "http", "POST", "/graphql", b"op=AssetGraphQuery", {"host": "127.0.0.1:3000"}),
        (True, "websocket", "GET", "/graphql", b"", {"host": "127.0.0.1:3000", "origin": "http://localhost:3000"}),
        (False, "http", "GET", "/runs", b"", {"host": "evil.example:3000"}),
        (False, "http", "GET", "/runs", b"", {"host": "127.0.0.1:4000"}),
        (False, "http", "GET", "/runs", b"", {}),
        (False, "http", "POST", "/graphql", b"", {"host": "127.0.0.1:3000", "origin": "http://evil.example"}),
        (False, "http", "POST", "/graphql", b"", {"host": "127.0.0.1:3000", "origin": "null"}),
        (False, "http", "POST", "/graphql", b"", {"host": "127.0.0.1:3000", "origin": "http://127.0.0.1:8000"}),
        (False, "http", "POST", "/graphql", b"query=mutation", {"host": "127.0.0.1:3000"}),
        (False, "http", "GET", "/graphql", b"query=mutation", {"host": "127.0.0.1:3000"}),
        (False, "http", "GET", "/graphql/", b"query=mutation", {"host": "127.0.0.1:3000"}),
        (False, "websocket", "GET", "/graphql", b"", {"host": "127.0.0.1:3000", "origin": "http://evil.example"}),
        (False, "websocket", "GET", "/graphql", b"", {"host": "evil.example", "origin": "http://127.0.0.1:3000"}),
    ],
)
def test_which_requests_are_allowed(
    right: bool, kind: str, method: str, path: str, query: bytes, headers: dict[str, str]
) -> None:
    assert is_allowed(kind, method, path, query, Headers(headers), HOSTS) is right


@pytest.fixture
def ui(tmp_path: Path) -> Iterator[str]:
    """Dagster's own webserver behind the check, without a stack: an empty workspace, and storage in files."""
    (port,) = free_ports(1)
    environment = {"DAGSTER_HOME": str(tmp_path), "SHOP_STREAMS_DAGSTER_PORT": str(port)}
    command = [sys.executable, "-m", "shop_streams.local.webserver", "--empty-workspace"]
    url = f"http://127.0.0.1:{port}"
    with answering(command, environment, f"{url}/server_info", 120, 60):
        yield url


def test_the_running_ui_refuses_pages_of_others(ui: str) -> None:
    question = {"query": "{ version }"}

    def status(method: str, path: str, **more: Any) -> int:
        return httpx.request(method, ui + path, timeout=60, trust_env=False, **more).status_code

    assert status("GET", "/") == 200
    assert status("POST", "/graphql", json=question) == 200
    assert status("POST", "/graphql", json=question, headers={"Origin": ui}) == 200
    assert status("POST", "/graphql", json=question, headers={"Origin": "http://evil.example"}) == 403
    assert status("POST", "/graphql", json=question, headers={"Host": "evil.example"}) == 403
    assert status("GET", "/graphql", params=question) == 403
    assert status("GET", "/", headers={"Host": f"evil.example:{ui.rsplit(':')[-1]}"}) == 403
