"""Data on a terminal is data: it neither breaks the output nor commands the terminal."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from rich.console import Console

from shop_streams.terminal import cell, escaped, visible
from shop_streams_tests.harness import COMMAND

NASTY = [
    "[/red]",
    "[bold]x",
    "\x1b[2J\x1b]0;title\x07",
    "a\rb\nc",
    "\u202eabc",
    ":warning:",
    "\\",
    "\x9b31m",
    "[link=x]",
]


@pytest.mark.parametrize("text", NASTY)
def test_every_character_is_shown(text: str) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, color_system=None, emoji=False, width=200)
    console.print(cell(text))
    console.print(f"[red]{escaped(text)}[/]")
    shown = output.getvalue().splitlines()
    assert shown == [visible(text)] * 2
    assert all(line.isprintable() for line in shown)


def test_a_message_may_have_lines() -> None:
    assert visible("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


def test_show_prints_events_of_any_name(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "lake" / "x" / "names"), pa.table({"event": NASTY}))
    environment = os.environ | {"SHOP_STREAMS_HOME": str(tmp_path), "FORCE_COLOR": "1"}
    answer = subprocess.run([COMMAND, "show", "x/names"], capture_output=True, text=True, env=environment, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert "[/red]" in answer.stdout and ":warning:" in answer.stdout and "\\x1b[2J" in answer.stdout
    assert "\x1b[2J" not in answer.stdout and "\x9b" not in answer.stdout and "\u202e" not in answer.stdout


def test_an_error_shows_what_it_names(tmp_path: Path) -> None:
    environment = os.environ | {"SHOP_STREAMS_HOME": str(tmp_path)}
    answer = subprocess.run(
        [COMMAND, "show", "[/red]\x1b[2J"], capture_output=True, text=True, env=environment, timeout=120
    )
    assert (
        answer.stderr.startswith("error: There is no table")
        and "[/red]" in answer.stderr
        and "\x1b" not in answer.stderr
    )


def test_a_terminal_of_another_encoding_ends_nothing() -> None:
    """`up` stops a stack over an error, and one was that the terminal has no check mark."""
    script = "from shop_streams.cli import main as cli; cli.app = lambda: cli.console.print('✓ healthy …'); cli.main()"
    environment = os.environ | {"PYTHONIOENCODING": "iso-8859-9"}
    said = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=True, timeout=60
    ).stdout
    assert b"healthy" in said


def test_a_preview_of_a_table_never_ends_in_a_crash(tmp_path: Path) -> None:
    """Arrow's threads that still read ahead crashed Python's shutdown in every second run or so."""
    for number in range(8):
        rows = pa.table({"id": [f"{number}-{one}" for one in range(2000)]})
        write_deltalake(str(tmp_path / "lake" / "many" / "files"), rows, mode="append")
    command = [str(Path(sys.executable).with_name("shop-streams")), "show", "many/files"]
    environment = os.environ | {"SHOP_STREAMS_HOME": str(tmp_path)}
    for _ in range(6):
        assert subprocess.run(command, env=environment, capture_output=True, timeout=60).returncode == 0
