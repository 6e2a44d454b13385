"""`forget-user`: removes a person's rows from all domains, while the stack runs. A second run completes an interrupted one.

The order of the steps:
1. The keyed hash of the id is noted: loaders leave out older rows from now on.
2. The streams read what their topics hold: a record that waits in a topic would become a row afterwards.
3. Streamed tables and dead letters: each origin is recorded before its row is deleted. Then PostgreSQL.
4. Runs of marts end: one that began before step 3 would write the person's rows again.
5. Partitions of marts that were computed from removed rows are marked, and the person's rows in marts are deleted. The repair
   sensors compute the partitions again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from deltalake.exceptions import DeltaError

from shop_streams.defs.domains import ENCODINGS
from shop_streams.defs.platform.forget_waits import unread, wait_for_runs
from shop_streams.domain import Domain
from shop_streams.lake import forget, reader
from shop_streams.lake.reader import Lake
from shop_streams.marts.sources import LakeSource
from shop_streams.marts.spec import Mart
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.forget import Letters, letters_of, remove_letters, remove_streamed
from shop_streams.streaming.forgotten import create, end_removal, only_removal, remember, unfinished_removals
from shop_streams.streaming.persons import PersonRows

PASSES = 3  # the second one finds nothing, unless a mart was computed from older rows meanwhile
STREAM_SECONDS = 180.0  # a running stream reads its topic within its interval
RUN_SECONDS = 600.0


@dataclass(frozen=True)
class Request:
    """Whose rows to remove, and where. `shop_tables`: also from the shop's own tables."""

    settings: Settings
    domains: Sequence[Domain]
    person: str
    shop_tables: bool = False


@dataclass(frozen=True)
class Removal:
    """Rows of one table: found, or removed. `partitions` are the touched ones of a table in the lake, ascending."""

    where: str
    rows: int
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What was removed, and why the command must run again, in words."""

    removed: list[Removal]
    unfinished: list[str] = field(default_factory=list)


def survey(request: Request) -> list[Removal]:
    """What the command would remove now; tables without such rows are left out."""
    settings, found = request.settings, []
    for domain in request.domains:
        for one in domain.persons.lake:
            rows = forget.find(one.table.uri(settings), one.table.partition_by[0], one.columns, request.person)
            found.append(Removal(one.table.path, rows.count, tuple(rows.partitions)))
        for table in postgres_tables(request, domain):
            found.append(Removal(in_postgres(table), count_rows(settings.postgres, table, request.person)))
        found.append(Removal(letters_in(domain), len(letters(request, domain).naming)))
    return [one for one in found if one.rows]


def in_postgres(table: PersonRows) -> str:
    """The table's name for people."""
    return f"PostgreSQL {table.table}"


def letters_in(domain: Domain) -> str:
    """The name of the domain's dead letters for people."""
    return f"{DEAD_LETTERS.path} of {domain.name}"


def letters(request: Request, domain: Domain) -> Letters:
    """The domain's dead letters that name the person."""
    return letters_of(request.settings, domain.name, request.person, domain.persons, ENCODINGS)


def postgres_tables(request: Request, domain: Domain) -> list[PersonRows]:
    """The tables in PostgreSQL from which rows are removed."""
    return [table for table in domain.persons.postgres if request.shop_tables or not table.of_the_shop]


def count_rows(dsn: str, table: PersonRows, person: str) -> int:
    """The number of the person's rows; 0 if there is no table."""
    with transaction(dsn) as cursor:
        cursor.execute("select to_regclass(%s)", (table.table,))
        if cursor.fetchone()[0] is None:
            return 0
        cursor.execute(f"select count(*) from {table.table} where {table.column} = %s", (person,))
        return int(cursor.fetchone()[0])


def remove(
    request: Request,
    running: Callable[[Sequence[Domain]], set[str]],
    say: Callable[[str], None] = lambda _words: None,
    stream_seconds: float = STREAM_SECONDS,
    run_seconds: float = RUN_SECONDS,
) -> Outcome:
    """Remove the person's rows. `running(domains)`: ids of the unfinished runs that compute marts of these domains.

    Raises:
        AnotherRemoval: another one is running.
        StillWritten: a table was written to all the time.
        psycopg2.OperationalError: PostgreSQL does not answer.
    """
    with only_removal(request.settings.postgres):
        return _remove(request, running, say, stream_seconds, run_seconds)


def _remove(
    request: Request,
    running: Callable[[Sequence[Domain]], set[str]],
    say: Callable[[str], None],
    stream_seconds: float,
    run_seconds: float,
) -> Outcome:
    settings = request.settings
    create(settings.postgres)
    remember(settings.postgres, [domain.name for domain in request.domains], request.person)
    unfinished = list(unread(settings, request.domains, say, stream_seconds))
    rows, partitions = Counter[str](), dict[str, set[str]]()

    def count(where: str, number: int, touched: Mapping[str, int] | None = None) -> None:
        rows[where] += number
        partitions.setdefault(where, set()).update(touched or ())

    for domain in request.domains:
        _remove_sources(request, domain, count)
    for number in range(PASSES):
        left = wait_for_runs(lambda: running(request.domains), say, run_seconds)
        if number == 0:
            _mark_marts(request, finished=not left)
        before = rows.total()
        for domain in request.domains:
            _remove_letters(request, domain, count)  # a run that has loaded files meanwhile has written some
            streamed = {spec.sink.table for spec in domain.lake_streams}
            for one in (one for one in domain.persons.lake if one.table not in streamed):
                column = one.table.partition_by[0]
                done = forget.remove(one.table.uri(settings), column, one.columns, request.person)
                count(one.table.path, done.count, done.partitions)
        if left:
            unfinished.append(f"{len(left)} runs of marts have not ended: {', '.join(sorted(one[:8] for one in left))}")
            break
        if rows.total() == before:
            break
    found = [Removal(where, number, tuple(sorted(partitions[where]))) for where, number in rows.items() if number]
    return Outcome(found, unfinished)


def _remove_sources(request: Request, domain: Domain, count: Callable[..., None]) -> None:
    settings, persons = request.settings, domain.persons
    specs = {spec.sink.table: spec for spec in domain.lake_streams}
    for one in persons.lake:
        if spec := specs.get(one.table):
            done = remove_streamed(spec, one, request.person, persons.event_hour, settings)
            count(one.table.path, done.count, done.partitions)
    _remove_letters(request, domain, count)
    for table in postgres_tables(request, domain):
        number = count_rows(settings.postgres, table, request.person)
        if number:
            table.prepare(settings.postgres)
            with transaction(settings.postgres) as cursor:
                table.remove(cursor, request.person)
            count(in_postgres(table), number)


def _remove_letters(request: Request, domain: Domain, count: Callable[..., None]) -> None:
    naming = letters(request, domain).naming
    count(letters_in(domain), remove_letters(request.settings, domain.name, naming, domain.lake_streams))


# -- marts ---------------------------------------------------------------------------------------------------------------


def _mark_marts(request: Request, finished: bool) -> None:
    """Mark the partitions of marts whose source lost rows. If runs of marts have not ended, the next command does it again."""
    settings = request.settings
    for path, before in unfinished_removals(settings.postgres).items():
        marts = [mart for domain in request.domains for mart in domain.marts if source_of(mart) == path]
        if not marts:
            continue
        for mart in marts:
            keys = touched(mart, Lake(settings), before) & Lake(settings).source_versions(mart.table).keys()
            forget.mark_stale(mart.table.uri(settings), mart.partition_column, keys)
        if finished:
            end_removal(settings.postgres, path)


def source_of(mart: Mart) -> str | None:
    """The path of the table that the mart is computed from, if its versions count rows."""
    return mart.source.table.path if isinstance(mart.source, LakeSource) else None


def touched(mart: Mart, lake: Lake, before: int) -> set[str]:
    """The partitions whose version was changed by a removal after version `before` of the source's table.

    Each removal is compared with the version just before it: rows that arrive meanwhile may be as many as were removed. All
    partitions, if the files or the log of these versions are deleted.
    """
    assert isinstance(mart.source, LakeSource)
    now, uri = lake.version(mart.source.table), mart.source.table.uri(lake.settings)
    if now is None:
        return set()
    spans = forget.shrinking(uri, before, now)
    if spans is None:
        return set(mart.versions(lake, now))
    changed: set[str] = set()
    for first, last in spans:
        try:
            for number in (first, last):
                reader.open_table(uri, number)
            old, new = mart.versions(lake, first), mart.versions(lake, last)
        except (DeltaError, FileNotFoundError):
            return set(mart.versions(lake, now))
        changed |= {key for key in old.keys() | new.keys() if old.get(key, 0) != new.get(key, 0)}
    return changed
