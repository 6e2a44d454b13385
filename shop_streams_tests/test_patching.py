"""Tests change what their own thread sees."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def changed(path: Path) -> Iterator[tuple[int, str]]:
    """(line, what) of each `setattr(what, …)` in a file; what may be an object, or a string with its whole name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            what = node.args[0]
            if isinstance(what, ast.Constant):
                yield node.lineno, str(what.value).split(".")[0]
            else:
                yield node.lineno, ast.unparse(what).split(".")[-1]


def test_no_test_changes_the_standard_library_for_other_threads() -> None:
    """`replace_in` changes it for one module. A thread that another test had left behind once moved a test's clock."""
    libraries = sys.stdlib_module_names - {"sys"}  # a run of a stream changes its own: what it sets is put back
    found = [
        f"{path.relative_to(TESTS)}:{line} {what}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, what in changed(path)
        if what in libraries
    ]
    assert found == []
