"""`shop-streams dead-letters`: look at what was refused, and send it again."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import get_settings

dead_letters_app = typer.Typer(
    no_args_is_help=True, help="What the streams refused, and why; send it again once fixed."
)
console = Console()

DomainOption = Annotated[str | None, typer.Option("--domain", help="only this domain's")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="only those whose reason contains this text")]


@dead_letters_app.command("list")
def list_dead_letters(
    domain: DomainOption = None,
    reason: ReasonOption = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    everything: Annotated[bool, typer.Option("--all", help="those that were replayed, too")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs")] = False,
) -> None:
    """Print what was refused and not yet replayed: its place in the topic, the reason, and the beginning of its value."""
    from shop_streams.streaming.replay import find, find_open, origin_of

    letters = (find if everything else find_open)(get_settings(), domain, reason)
    if as_json:
        plain = [{**letter, "raw": (letter["raw"] or b"").decode(errors="replace")} for letter in letters]
        typer.echo(json.dumps(plain, indent=2, default=str))
        return
    grid = RichTable("at", "place", "reason", "value")
    for letter in letters[:limit]:
        raw = (letter["raw"] or b"")[:60].decode(errors="replace")
        grid.add_row(f"{letter['at']:%Y-%m-%d %H:%M:%S}", origin_of(letter), letter["reason"], escape(raw))
    console.print(grid)
    console.print(f"{len(letters)} dead letters" + (f", {limit} shown" if len(letters) > limit else ""))


@dead_letters_app.command("show")
def show_dead_letter(place: Annotated[str, typer.Argument(help="topic:partition:offset, as `list` prints it")]) -> None:
    """Print one dead letter's value byte by byte on standard output, and why it was refused on standard error."""
    from shop_streams.streaming.replay import find, origin_of

    letter = next((letter for letter in find(get_settings()) if origin_of(letter) == place), None)
    if letter is None:
        raise ShopStreamsError(
            f"There is no dead letter {place!r}. `shop-streams dead-letters list --all` prints them."
        )
    typer.echo(f"{letter['at']:%Y-%m-%d %H:%M:%S}  {letter['domain']}  {letter['reason']}", err=True)
    sys.stdout.buffer.write(letter["raw"] or b"")


@dead_letters_app.command("replay")
def replay_dead_letters(
    domain: DomainOption = None,
    reason: ReasonOption = None,
    fix: Annotated[
        str | None,
        typer.Option("--fix", help="a shell command that reads a value and writes the mended one, such as 'jq -c .'"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Send dead letters to their topic again, each once. What still breaks a rule comes back as a new dead letter."""
    from rich.progress import track

    from shop_streams.streaming.replay import find_open, mend_with, replay

    settings = get_settings()
    letters = find_open(settings, domain, reason)
    if not letters:
        console.print("No dead letters.")
        return
    if not yes:
        typer.confirm(f"Send {len(letters)} records to their topics again?", abort=True)
    sent = sum(1 for _ in track(replay(letters, settings, mend_with(fix)), "replaying", len(letters)))
    console.print(f"{sent} records sent again.")
