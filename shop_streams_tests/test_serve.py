"""What requests of every service rely on, whichever application answers them."""

import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from shop_streams import serve


def test_the_garbage_collector_does_not_look_through_what_was_loaded_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests wait for a full collection: 45 ms with FastAPI loaded."""
    loaded: list[list[None]] = [[] for _ in range(100_000)]
    looked_through = []

    def run(serving: Coroutine[Any, Any, None]) -> None:
        serving.close()
        looked_through.append(len(gc.get_objects()))  # without frozen ones

    monkeypatch.setattr(serve, "raise_file_limit", lambda: 1024)
    monkeypatch.setattr(serve.uvloop, "run", run)
    try:
        serve.serve(None, "127.0.0.1", 0)
    finally:
        gc.unfreeze()
    assert looked_through[0] < len(loaded) / 10
