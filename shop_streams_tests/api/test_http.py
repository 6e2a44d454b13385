"""Paths, headers and the description of the API; and generated requests, which must get no answer that it does not describe."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from shop_streams.api.pages import NOT_BUILT, SecurityHeaders, add_pages
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases
from shop_streams_tests.local.test_database import execute

pytestmark = pytest.mark.servers


def test_generated_requests_get_the_answers_that_the_description_has(
    tables: Settings, api_url: str, tmp_path: Path
) -> None:
    """Schemathesis' examples, limits and random requests, all of its checks; the same ones each time."""
    execute(tables.postgres, "insert into users values (1767225600, 'shop.example', 'chair-7', 12, 3.25)")
    execute(tables.postgres, "insert into orders values (1767225600, 'shop.example', 'chair-7', 2, 2980)")
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{api_url}/openapi.json"]
    options = ["--generation-deterministic", "--max-examples=40", "--phases=examples,coverage,fuzzing", "--no-color"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert "8 selected" in done.stdout, "the paths of the description"


def test_the_description_names_every_answer(api: TestClient) -> None:
    items = [f"/api/v1.0/{name}{since}" for name in ("users", "orders") for since in ("", "/{since}")]
    operations = ["/readyz", "/healthz", "/api/v1.0/streams"]
    paths = api.get("/openapi.json").json()["paths"]
    assert {path: sorted(one["get"]["responses"]) for path, one in paths.items()} == {
        **{path: ["200", "422", "503"] for path in items},
        **{path: ["200", "503"] for path in operations},
        "/livez": ["200"],
    }


def test_the_paths_of_operators(tables: Settings, api: TestClient) -> None:
    Leases(tables.postgres).acquire("s", "run", 1, "host", 10)
    try:
        assert api.get("/livez").json() == {"alive": True}
        assert api.get("/readyz").json() == api.get("/healthz").json() == {"healthy": True}
        (state,) = api.get("/api/v1.0/streams").json().values()
        assert state.pop("beat_age_seconds") < 60
        assert state == {"alive": True, "run_id": "run", "epoch": 1, "lag": None}
        for path in ("/livez", "/readyz", "/healthz", "/api/v1.0/streams"):
            assert api.head(path).status_code == 200 and api.post(path).status_code == 405
    finally:
        execute(tables.postgres, "truncate stream_leases")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/docs", 200), ("GET", "/api/v1.0/users", 200), ("GET", "/api/v1.0/users/x", 422),
     ("GET", "/api/v1.0/users/", 404), ("GET", "/healthz/", 404), ("POST", "/api/v1.0/users", 405), ("GET", "/static/items.js", 200),
     ("GET", "/static/../../pyproject.toml", 404), ("GET", "/static/%2e%2e/bundles.py", 404), ("GET", "/static", 404)],
)  # fmt: skip
def test_every_answer_has_the_headers_of_a_public_page(api: TestClient, method: str, path: str, status: int) -> None:
    answer = api.request(method, path, follow_redirects=False)
    assert answer.status_code == status
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] in ("no-store", "no-cache")
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere_and_have_no_code_in_them(api: TestClient, page: str) -> None:
    text = api.get(page).text
    assert "<script>" not in text and "onclick" not in text and "style=" not in text and "://" not in text


@pytest.mark.parametrize(("on", "port"), [(True, "8191"), (False, "")])
def test_the_page_names_the_demo_shop_only_where_it_is_served(on: bool, port: str) -> None:
    app = FastAPI(docs_url=None)
    add_pages(app, Settings(demo_shop=on, demo_shop_port=8191))
    with TestClient(app) as client:
        assert f'data-demo-shop-port="{port}"' in client.get("/").text


def test_before_the_pages_are_built_they_say_how_to_build_them(tmp_path: Path) -> None:
    app = FastAPI(docs_url=None)
    add_pages(app, Settings(), tmp_path / "dist")
    with TestClient(SecurityHeaders(app), raise_server_exceptions=False) as client:
        assert client.get("/").status_code == client.get("/docs").status_code == 503
        assert client.get("/").text == NOT_BUILT and "make setup" in NOT_BUILT
        assert client.get("/static/items.js").status_code == 404


def test_numbers_are_json_that_any_reader_takes(tables: Settings, api: TestClient) -> None:
    item = '"</script>\\\n\u2028\U0001f6d2'
    with_item = f"insert into orders values (1, 's', $t${item}$t$, 1, 1e300)"
    execute(tables.postgres, with_item)
    answer = api.get("/api/v1.0/orders/0")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.content)["contents"] == [{"url": "s", "id_item": item, "count": 1, "sum": 1e300}]
