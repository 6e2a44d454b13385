"""`shop-streams dead-letters`: lists and replays dead letters."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from shop_streams.errors import ShopStreamsError
from shop_streams.plain import plain, plain_pair
from shop_streams.settings import get_settings

if TYPE_CHECKING:
    from shop_streams.streaming.drafts import Draft, Fix, State
    from shop_streams.streaming.replay import Result

Item = TypeVar("Item")

SHOWN = 50
VALUE_WIDTH = 48
REASON_WIDTH = 200

dead_letters_app = typer.Typer(
    no_args_is_help=True, help="List the records that the streams refused, fix them and send them again."
)
console = Console()

DomainOption = Annotated[str | None, typer.Option("--domain", help="only letters of this domain")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="only letters whose reason contains this text")]


@dead_letters_app.command("list", epilog="Example: shop-streams dead-letters list")
def list_dead_letters(
    domain: DomainOption = None,
    reason: ReasonOption = None,
    limit: Annotated[int, typer.Option(min=1)] = SHOWN,
    everything: Annotated[bool, typer.Option("--all", help="also letters that were replayed")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for programs")] = False,
) -> None:
    """Print the open dead letters: origin, reason, and the beginning of the value.

    The origin of a record is topic:partition:offset, that of a file's row file:line.
    `came from` is the dead letter whose replay made this record.
    """
    from shop_streams.cli.letters import as_text, readable
    from shop_streams.defs.domains import DOMAINS
    from shop_streams.streaming.choice import Choice, find_chosen
    from shop_streams.streaming.drafts import origin_of

    domains = [one.name for one in DOMAINS]
    found = find_chosen(get_settings(), Choice(domain, reason), domains, everything, None if as_json else limit)
    if as_json:
        rows = [
            {
                **as_text(letter),
                "place": origin_of(letter),
                "replayed": origin_of(letter) in found.replayed,
                "came_from": found.replay_of.get(origin_of(letter)),
            }
            for letter in found.letters
        ]
        typer.echo(json.dumps(rows, indent=2, default=str))
        return
    grid = RichTable(Column("at", min_width=10), Column("origin", overflow="fold"), "reason", "value", "came from")
    for letter in found.letters:
        origin = origin_of(letter)
        cells = (plain(origin, 200), plain(letter["reason"], REASON_WIDTH), plain(readable(letter)))
        grid.add_row(f"{letter['at']:%Y-%m-%d %H:%M:%S}", *map(Text, cells), Text(found.replay_of.get(origin, "")))
    console.print(grid)
    count = found.count
    console.print(f"{count} dead letters" + (f", {limit} shown; --limit {count} shows all" if count > limit else ""))


@dead_letters_app.command("show", epilog="Example: shop-streams dead-letters show events:0:17")
def show_dead_letter(
    origin: Annotated[str, typer.Argument(help="topic:partition:offset or file:line, as `list` prints it")],
    as_bytes: Annotated[bool, typer.Option("--raw", help="print the value's bytes, also of Avro")] = False,
) -> None:
    """Print one dead letter: its value on standard output; reason, key, headers and where it came from on standard error.

    The value is printed unchanged, an Avro value as JSON; only on a terminal control characters are escaped.
    """
    from shop_streams.cli.letters import readable
    from shop_streams.streaming.choice import Choice, find_chosen
    from shop_streams.streaming.replay_ledger import origin_chain

    found = find_chosen(get_settings(), Choice(origins=(origin,)), [])
    letter = found.letters[0]
    replayed = "  replayed" if found.replayed else ""
    typer.echo(
        f"{letter['at']:%Y-%m-%d %H:%M:%S}  {letter['domain']}  {plain(letter['reason'], 1000)}{replayed}", err=True
    )
    if chain := origin_chain(origin, found.replay_of):
        reasons = found.reasons(chain)
        for origin in chain:
            typer.echo(f"came from {origin}: {plain(reasons.get(origin, 'not kept any more'), 1000)}", err=True)
    if letter["key"] is not None:
        typer.echo(f"key {plain(letter['key'], 200)}", err=True)
    for header in letter["headers"] or ():
        typer.echo(f"header {plain(header['key'], 200)}: {plain(header['value'], 1000)}", err=True)
    raw: bytes = (letter["raw"] if as_bytes else readable(letter)) or b""
    if sys.stdout.isatty():
        typer.echo(plain(raw, max(60, 4 * len(raw))))
    else:
        sys.stdout.buffer.write(raw)


@dead_letters_app.command("replay", epilog="Example: shop-streams dead-letters replay events:0:17")
def replay_dead_letters(
    origins: Annotated[
        list[str] | None,
        typer.Argument(metavar="ORIGIN", help="topic:partition:offset; without any, all open letters"),
    ] = None,
    domain: DomainOption = None,
    reason: ReasonOption = None,
    fix: Annotated[
        str | None,
        typer.Option(
            "--fix",
            help="a shell command that reads a value and writes the fixed one, for example 'jq -c .'; an Avro value is JSON for it",
        ),
    ] = None,
    named_fix: Annotated[
        str | None, typer.Option("--named-fix", help="one of the fixes above, as in the job replay_dead_letters")
    ] = None,
    fix_seconds: Annotated[
        float, typer.Option("--fix-seconds", min=0.1, help="time limit of --fix for each letter")
    ] = 10,
    from_origin: Annotated[
        bool,
        typer.Option("--from-origin", help="fix the value that was refused first, not the result of an earlier fix"),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="send nothing; show values before and after, and the rules' verdict")
    ] = False,
    send_refused: Annotated[
        bool,
        typer.Option("--send-refused", help="also send values that the rules would refuse again, and empty values"),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Fix dead letters and send them to their topics again, each once. A file's row is mended in its file instead.

    The domain's rules validate each value first: values that they refuse are not sent. Exit status 1 if a letter stays
    open.

    Fixes for --named-fix: as_is, trim (white space, NULs), texts_to_numbers (prices, times, user_id), numbers_to_texts
    (category, item_id, uid), seconds_to_milliseconds (sales), milliseconds_to_seconds (promotions), unwrap_array.
    """
    from shop_streams.defs.domains import DOMAINS, ENCODINGS, LAKE_STREAMS
    from shop_streams.spark import open_session
    from shop_streams.streaming.choice import Choice, find_chosen
    from shop_streams.streaming.dead_letters import to_replay
    from shop_streams.streaming.drafts import State, make_drafts, validate_with
    from shop_streams.streaming.replay import Result, replay, summary

    settings = get_settings()
    mend = _fix(fix, named_fix, fix_seconds)
    found = find_chosen(settings, Choice(domain, reason, tuple(origins or ())), [one.name for one in DOMAINS])
    letters = to_replay(found.open, named=bool(domain or origins))
    validate = validate_with(LAKE_STREAMS, settings, lambda: open_session(settings))
    firsts = found.firsts if from_origin else None
    making = make_drafts(letters, mend, validate, firsts, [spec.name for spec in LAKE_STREAMS], ENCODINGS)
    drafts: list[Draft] = list(_tracked(making, "fixing and validating", len(letters)))
    again = [State.ALREADY] * len(found.replayed)
    for origin, record in found.records.items():
        console.print(f"{origin} was replayed before: its record is {record}.", markup=False, highlight=False)
    results = [Result(draft, draft.state(send_refused), draft.verdict) for draft in drafts]
    if drafts:
        _print_results(results)
    ready = sum(result.state is State.READY for result in results)
    if not dry_run and ready:
        console.print(summary([result.state for result in results] + again))
        if not yes:
            typer.confirm(f"Send {ready} records to their topics again?", abort=True)
        results = list(_tracked(replay(drafts, settings, send_refused), "sending", len(drafts)))
        if untaken := [result for result in results if result.state is State.NOT_TAKEN]:
            _print_results(untaken)
    _finish([result.state for result in results] + again, bool(found.replay_of.keys() & {one.origin for one in drafts}))


def _fix(command: str | None, name: str | None, seconds: float) -> Fix:
    from shop_streams.cli.shell_fix import shell_fix
    from shop_streams.defs.platform.fixes import FIXES, as_is

    if command is not None and name is not None:
        raise ShopStreamsError("--fix and --named-fix are both given; choose one.")
    if command is not None:
        return shell_fix(command, seconds)
    named = {fix.value: function for fix, function in FIXES.items()}
    if name is not None and name not in named:
        raise ShopStreamsError(f"There is no named fix {name!r}. There are: {', '.join(named)}.")
    return as_is if name is None else named[name]


def _tracked(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
    return track(items, what, total, console=Console(stderr=True), disable=not total)


def _print_results(results: list[Result]) -> None:
    """Print each letter before and after the fix, with the verdict. Values are shortened and never read as markup."""
    grid = RichTable(Column("origin", no_wrap=True), "before", "after", "verdict")
    for result in results[:SHOWN]:
        before, after = plain_pair(*result.draft.shown, VALUE_WIDTH)
        cells = (plain(result.draft.origin, 200), before, after, plain(result.detail, REASON_WIDTH))
        grid.add_row(*map(Text, cells))
    console.print(grid)
    if len(results) > SHOWN:
        console.print(f"{len(results)} letters, {SHOWN} shown")


def _finish(states: list[State], replayed_before: bool) -> None:
    """Print the summary. If a letter stays open, print the next step and exit with status 1."""
    from shop_streams.streaming.drafts import DONE, State
    from shop_streams.streaming.replay import summary

    console.print(f"{summary(states)}.")
    if State.REFUSED in states:
        hint = "`--from-origin` starts from the value that was refused first; " if replayed_before else ""
        console.print(
            f"`--fix` changes values that the rules refuse; {hint}`--send-refused` sends them anyway.", markup=False
        )
    if any(state not in DONE for state in states):
        raise typer.Exit(1)
