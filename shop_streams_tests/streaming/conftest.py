"""Fixtures of the stream tests."""

import pytest

from shop_streams_tests.streaming.world import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)
