"""Stand-ins for parts of the standard library that one module alone sees."""

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


def replace_in(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, library: ModuleType, **functions: Callable[..., Any]
) -> None:
    """`module` has these functions in place of the library's. Other modules and threads go on with the library's own."""
    monkeypatch.setattr(module, library.__name__, SimpleNamespace(**{**vars(library), **functions}))
