"""A command that is told to stop ends what it has started, and a command that stays notices that its stack is gone."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from shop_streams.cli import stay
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams_tests.patching import replace_in

WAITS = """
import sys, time
from shop_streams.cli import main

@main.app.command()
def waits() -> None:
    try:
        print("waits", flush=True)
        time.sleep(60)
    finally:
        print("ends what it has started", flush=True)

sys.argv = ["shop-streams", "waits"]
main.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_interrupted_ends_what_it_has_started(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "waits\n"
        run.send_signal(number)
        said, problem = run.communicate(timeout=30)
    assert (said, problem, run.returncode) == ("ends what it has started\n", "Interrupted.\n", 130)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home without a supervisor."""
    replace_in(monkeypatch, stay, signal, signal=lambda *_: None)
    monkeypatch.setattr(stay, "LOOK_SECONDS", 0.01)
    return Settings(home=tmp_path)


def test_a_stack_that_another_command_has_stopped_is_not_waited_for(
    home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    stay.stay_until_interrupted(home, Console())
    assert "Another command has stopped the stack." in capsys.readouterr().out


def test_a_supervisor_that_has_died_is_an_error(home: Settings) -> None:
    (home.home / "stack.env").write_text("")
    with pytest.raises(ShopStreamsError, match=r"supervisor has died.*shop-streams up"):
        stay.stay_until_interrupted(home, Console())
