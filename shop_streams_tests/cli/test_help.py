"""`--help` teaches: each command has an example, and says the values that it takes."""

import typer
from typer.testing import CliRunner

from shop_streams.cli.main import app
from shop_streams.defs.domains import DOMAINS, STREAMS


def shown(*words: str) -> str:
    """The help of a command, on a wide terminal."""
    found = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert found.exit_code == 0, found.output
    return found.output


def test_each_command_has_an_example_or_is_a_group_or_a_stop() -> None:
    group = typer.main.get_command(app)
    commands = [[name] for name in group.commands if name not in ("dead-letters", "down")]  # type: ignore[attr-defined]
    commands += [["dead-letters", name] for name in ("list", "show", "replay")]
    assert [
        words
        for words in commands
        if f"Example: {'' if words[0] in ('up', 'demo') else 'shop-streams ' + words[0]}" not in shown(*words)
    ] == []


def test_the_values_are_all_that_there_are() -> None:
    helped = shown("recover")
    assert [spec.name for spec in STREAMS if spec.name not in helped] == []
    helped = shown("simulate")
    assert [domain.name for domain in DOMAINS if domain.name not in helped] == []
