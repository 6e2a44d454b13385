"""`shop-streams forget-user`: removes a person's rows, and tells where copies remain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import psycopg2
import typer
from psycopg2.extensions import TransactionRollbackError
from rich.console import Console
from rich.table import Column
from rich.table import Table as RichTable

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import get_settings
from shop_streams.terminal import cell, speaker

if TYPE_CHECKING:
    from shop_streams.defs.platform.copies import Copy
    from shop_streams.defs.platform.forget import Removal
    from shop_streams.domain import Domain
    from shop_streams.settings import Settings

LONGEST_ID = 1000  # characters
EXAMPLE = "Example: shop-streams forget-user 4711 --domain community --dry-run"


def forget_user(
    person: Annotated[
        str, typer.Argument(metavar="ID", help="the id as the tables have it: a number, a UUID, a party id")
    ],
    domain: Annotated[list[str] | None, typer.Option("--domain", help="only this domain; may be repeated")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="remove nothing; show what would be removed")] = False,
    shop_tables: Annotated[
        bool, typer.Option("--shop-tables", help="also from the shop's own tables (subscribers_restaurants)")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Remove a person's rows from tables, marts and dead letters, and say where copies remain.

    The stack may run, and PostgreSQL must. Marts are then computed again by their repair sensors.

    An interrupted or repeated command completes the removal. Exit status 1 if it has to be run again.

    An id may be another person's in another domain: choose domains with --domain.
    """
    from shop_streams.defs.platform.copies import copies_of
    from shop_streams.defs.platform.forget import Request, remove, survey

    settings, console = get_settings(), Console(emoji=False)
    request = Request(settings, chosen(domain), checked(person), shop_tables)
    try:
        found = survey(request)
        copies = copies_of(request, found)
        print_removals(console, "would be removed", found)
        if dry_run:
            print_copies(console, copies)
            return
        require_runs_known(settings)
        if not yes:
            typer.confirm("Remove these rows? They can't be restored", abort=True)
        outcome = remove(request, lambda domains: unfinished_runs(settings, domains), speaker(console))
    except psycopg2.OperationalError as error:
        raise ShopStreamsError(words_of(error)) from error
    print_removals(console, "removed", outcome.removed)
    print_copies(console, copies)
    for words in outcome.unfinished:
        console.print(cell(f"Not finished: {words}. Run the command again."))
    if outcome.unfinished:
        raise typer.Exit(1)


def words_of(error: psycopg2.OperationalError) -> str:
    """What happened to PostgreSQL, and what to do."""
    if isinstance(error, TransactionRollbackError):  # a deadlock, for example: the server is well
        why = str(error).strip().partition("\n")[0]
        return f"PostgreSQL has rolled a step back: {why}. Run the command again: it completes what was begun."
    return (
        f"PostgreSQL does not answer: {str(error).strip()}. Run the command again once `shop-streams status` calls it healthy: it "
        "completes what was begun."
    )


def checked(person: str) -> str:
    """The id.

    Raises:
        ShopStreamsError: it can't be one.
    """
    if person.startswith("--"):  # not refused earlier, because -5 is an ID
        raise ShopStreamsError(f"There is no option {person}. `shop-streams forget-user --help` shows them.")
    if not person.strip() or len(person) > LONGEST_ID or "\0" in person:
        raise ShopStreamsError(f"An ID has 1 to {LONGEST_ID} characters, which are not all blanks, and no NUL.")
    return person


def chosen(names: Sequence[str] | None) -> list[Domain]:
    """The domains of these names; all without names.

    Raises:
        ShopStreamsError: there is no such domain.
    """
    from shop_streams.defs.domains import DOMAINS

    known = {one.name: one for one in DOMAINS}
    if wrong := [name for name in names or () if name not in known]:
        raise ShopStreamsError(f"There is no domain {wrong[0]!r}. There are: {', '.join(known)}.")
    return [one for name, one in known.items() if not names or name in names]


def require_runs_known(settings: Settings) -> None:
    """Check that the runs of marts can be waited for: one that has read a person's rows would write them again.

    Raises:
        ShopStreamsError: the database is another one's, and this home has no configuration of its Dagster.
    """
    if not settings.embedded["postgres"] and not (settings.dagster_home / "dagster.yaml").exists():
        raise ShopStreamsError(
            f"{settings.dagster_home}/dagster.yaml is missing, so runs of marts can't be waited for. Run this command where "
            'Dagster\'s code server runs, with its settings (docs/deploy.md, "The command elsewhere").'
        )


def unfinished_runs(settings: Settings, domains: Sequence[Domain]) -> set[str]:
    """Ids of the unfinished runs that compute marts of these domains: a mart's own runs, and a domain's other jobs."""
    import dagster as dg

    from shop_streams.local.stopping import instance_of
    from shop_streams.marts.repair import MART_TAG
    from shop_streams.runs import UNFINISHED

    if not settings.dagster_home.is_dir():
        return set()
    streams = {f"{spec.name}_stream" for one in domains for spec in one.streams}
    marts = {mart.name for one in domains for mart in one.marts}
    with instance_of(settings) as instance:
        runs = [record.dagster_run for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))]
    return {
        run.run_id
        for run in runs
        if run.job_name not in streams
        and (run.tags.get(MART_TAG) in marts or any(run.job_name.startswith(f"{one.name}_") for one in domains))
    }


def print_removals(console: Console, title: str, removals: Sequence[Removal]) -> None:
    """Print a line for each table, or that there is nothing."""
    if not removals:
        console.print(f"Nothing {title}: no table has rows of this ID.")
        return
    grid = RichTable(Column("table", overflow="fold"), Column(title, overflow="fold", justify="right"), "partitions")
    for one in removals:
        first, count = one.partitions[:1], len(one.partitions)
        span = f"{count}: {first[0]} … {one.partitions[-1]}" if count > 1 else "".join(first)
        grid.add_row(cell(one.where), f"{one.rows:,} rows", cell(span))
    console.print(grid)


def print_copies(console: Console, copies: Sequence[Copy]) -> None:
    """Print where copies remain."""
    grid = RichTable("copies remain in", "until")
    for one in copies:
        grid.add_row(cell(one.what), cell(one.until))
    console.print(grid)
