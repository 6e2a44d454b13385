"""`shop-streams recover`: shows where a stream can continue after a loss or a restore, and does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import psycopg2
import typer
from rich.console import Console
from rich.table import Column
from rich.table import Table as RichTable

from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import no_answer
from shop_streams.settings import get_settings
from shop_streams.terminal import speaker

if TYPE_CHECKING:
    from shop_streams.settings import Settings
    from shop_streams.streaming.continuation import PartitionPlan
    from shop_streams.streaming.recover import Plan
    from shop_streams.streaming.sinks import TopicSink
    from shop_streams.streaming.spec import StreamSpec

HOLD_SECONDS = 7 * 86_400.0  # the lease must last as long as the recovery, which may read a table of years


def recover_stream(
    stream: Annotated[
        str,
        typer.Argument(
            metavar="STREAM",
            help="app_events_ingest, shop_events_ingest, hourly_metrics, promotion_notifications or clicks_ingest",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="do it; without it, only show what would be done")] = False,
) -> None:
    """Continue a stream after a lost checkpoint, a restored lake, deleted records or a recreated topic.

    The start comes from the offsets in the table, so no record is written twice. The old checkpoint is moved aside.

    What Kafka no longer has is written down as lost. The stream must not run.
    """
    from shop_streams.streaming.batch_failures import BatchFailures
    from shop_streams.streaming.recover import make_plan, recover
    from shop_streams.streaming.sinks import TopicSink

    settings, console = get_settings(), Console(emoji=False)
    spec = chosen(stream)
    say = speaker(console)
    if isinstance(spec.sink, TopicSink):
        recover_state(spec, spec.sink, settings, yes, say)
        return
    plan = make_plan(spec, settings)
    show(console, plan)
    if not plan.needed:
        say(f"Nothing to recover: {spec.name} can start as it is.")
        return
    if not yes:
        say(f"Nothing was changed. `shop-streams recover {spec.name} --yes` does it.")
        return
    with resting(spec, settings, say):
        done, aside = recover(spec, settings, BatchFailures(settings.postgres).forget)
    say(f"Done. The old checkpoint is {aside}." if aside else "Done. There was no old checkpoint.")
    lost = f"{done.lost:,} offsets are lost and written down as known gaps" if done.lost else "Nothing is lost"
    say(f"{lost}. Switch {spec.name} on, if it is off.")


def recover_state(spec: StreamSpec, sink: TopicSink, settings: Settings, yes: bool, say: Callable[[str], None]) -> None:
    """The same for a stream that fills a topic: its state comes back from the lake.

    Raises:
        ShopStreamsError: the stream has no such way back, or another stream must be recovered first.
    """
    from shop_streams.spark import open_session
    from shop_streams.streaming.batch_failures import BatchFailures, failures_of
    from shop_streams.streaming.query import probe_spark
    from shop_streams.streaming.recover import problem_of

    problem = problem_of(spec, settings)
    if problem is None:
        say(f"Nothing to recover: {spec.name} can start as it is.")
        return
    say(problem)
    if sink.recovery is None:
        raise ShopStreamsError(
            f"{spec.name} has no table and no way back from the lake: it can only read its topic again."
        )
    plan = sink.recovery.plan(spec, settings)
    starts = ", ".join(f"partition {number} from offset {offset:,}" for number, offset in sorted(plan.start.items()))
    say(f"The sums come from table {plan.table}, and then from the topic: {starts}. Hours that differ are sent again.")
    if not yes:
        say(f"Nothing was changed. `shop-streams recover {spec.name} --yes` does it.")
        return
    probe_spark(settings)
    with resting(spec, settings, say):
        aside = sink.recovery.carry_out(spec, settings, lambda: open_session(settings))
        BatchFailures(settings.postgres).forget(failures_of(spec.name, spec.checkpoint(settings)))
    say(f"Done. The old checkpoint is {aside}." if aside else "Done. There was no old checkpoint.")


def chosen(name: str) -> StreamSpec:
    """The stream of this name.

    Raises:
        ShopStreamsError: there is no such stream.
    """
    from shop_streams.defs.domains import STREAMS

    known = {spec.name: spec for spec in STREAMS}
    if name not in known:
        raise ShopStreamsError(f"There is no stream {name!r}. There are: {', '.join(known)}.")
    return known[name]


@contextmanager
def resting(spec: StreamSpec, settings: Settings, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the stream's lease while the block lasts, so that no run starts.

    Raises:
        ShopStreamsError: the stream runs, and how to switch it off; or PostgreSQL does not answer.
    """
    from shop_streams.streaming.lease import LeaseHeld, Leases
    from shop_streams.streaming.switch import keep_alive_name

    try:
        lease = Leases(settings.postgres).hold(spec.name, "recover", settings.lease_seconds, say)
        with lease as mine, mine.beating(settings.beat_seconds, HOLD_SECONDS):
            yield
            mine.beat(None, None, sound=True)  # the last run's problem is solved
    except LeaseHeld as error:
        raise ShopStreamsError(
            f"{error}. Switch the stream off first: turn {keep_alive_name(spec.name)} off on Dagster's Automation page, "
            "and wait until `shop-streams status` says that it rests."
        ) from error
    except psycopg2.OperationalError as error:
        raise no_answer("the stream's lease", error) from error


def show(console: Console, plan: Plan) -> None:
    """Print the plan: a line for each partition, and what it means in words."""
    say = speaker(console)
    if plan.problem:
        say(plan.problem)
    if plan.created_again:
        say(
            f"Topic {plan.topic} was created again, and is read from its beginning. The rows of the earlier topic stay. Records of it "
            f"that the stream had not read are gone with it. Partitions are numbered from {plan.shift:,} on in the table."
        )
    # As wide as 80 columns with offsets in the billions; in a narrower terminal a number is broken, and none is cut.
    grid = RichTable(
        Column("partition", min_width=len("partition"), justify="right"),
        *(
            Column(one, overflow="fold", justify="right")
            for one in ("Kafka has", "the table\nreaches", "starts at", "to read")
        ),
    )
    for one in plan.partitions:
        grid.add_row(*line(one))
    console.print(grid)
    for one in plan.partitions:
        for sentence in what_is_not_there(one):
            say(sentence)
    if not plan.lost and not plan.created_again:
        say("Nothing is lost.")


def line(one: PartitionPlan) -> tuple[str, ...]:
    """The cells of a partition."""
    return (
        str(one.partition), f"{one.low:,} to\n{one.high:,}", f"{one.reached:,}", f"{one.start:,}", f"{one.to_read:,}"
    )  # fmt: skip


def what_is_not_there(one: PartitionPlan) -> Iterator[str]:
    """Sentences about what the lake lacks of a partition, and about what Kafka lacks, too."""
    if one.refilled:
        yield f"Partition {one.partition}: {one.refilled:,} records before {one.reached:,} are not in the lake: the stream will read them."
    if one.lost:
        spans = ", ".join(f"{first:,} to {end - 1:,}" for first, end in one.gaps[:3])
        more = " …" if len(one.gaps) > 3 else ""
        yield f"Partition {one.partition}: {one.lost:,} offsets are lost: {spans}{more}."
