"""The demo leaves a stack as it found it, and is patient with a slow machine."""

import time
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from shop_streams.cli import demo, demo_wait
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams_tests.patching import replace_in


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes by waiting only."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    replace_in(monkeypatch, demo_wait, time, monotonic=lambda: now[0], sleep=sleep)
    return now


def test_it_waits_as_long_as_there_is_progress(clock: list[float]) -> None:
    """An hour for what a fast machine does in seconds, as long as something new is said every four minutes."""
    steps = (f"[step {int(clock[0] // 200)}]" for _ in count())
    assert demo_wait.wait(Console(stderr=True), "a load", lambda: clock[0] > 3600, lambda: next(steps))
    assert clock[0] > 3600


def test_without_progress_it_says_what_came_last(clock: list[float]) -> None:
    with pytest.raises(
        ShopStreamsError, match=r"No progress for 240 s: a load\. Last: \[step 2\] See `shop-streams status`"
    ):
        demo_wait.wait(Console(stderr=True), "a load", lambda: False, lambda: f"[step {min(2, int(clock[0] // 200))}]")
    assert 640 <= clock[0] < 650, "240 s after the last progress"
