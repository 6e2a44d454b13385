"""The demo leaves a stack as it found it."""

from pathlib import Path

import pytest
from rich.console import Console

from shop_streams.cli import demo
from shop_streams.settings import Settings


@pytest.mark.parametrize(
    ("was_up", "stop_afterwards", "stops"),
    [(False, True, True), (False, False, False), (True, True, False), (True, False, False)],
)
@pytest.mark.parametrize("right", [True, False])
def test_only_a_stack_that_the_demo_started_is_stopped(
    was_up: bool, stop_afterwards: bool, stops: bool, right: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped: list[bool] = []
    started: list[Settings] = []
    monkeypatch.setattr(demo.stack, "is_up", lambda _settings: was_up)
    monkeypatch.setattr(demo.stack, "up", lambda settings, _console: started.append(settings))
    monkeypatch.setattr(demo.stack, "down", lambda *_: stopped.append(True))
    monkeypatch.setattr(demo, "_play", lambda *_: right)
    assert demo.run_demo(Settings(home=tmp_path), Console(stderr=True), stop_afterwards) is right
    assert stopped == [True] * stops
    assert [settings.demo_shop for settings in started] == [not was_up], "a stack that was up keeps its services"
