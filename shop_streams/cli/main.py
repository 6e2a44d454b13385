"""The `shop-streams` command."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Literal

import typer
from confluent_kafka import KafkaError, KafkaException
from rich.console import Console

from shop_streams.cli.dead_letters import dead_letters_app
from shop_streams.cli.forget import EXAMPLE, forget_user
from shop_streams.cli.recover import recover_stream
from shop_streams.cli.show import show
from shop_streams.cli.simulate import simulate
from shop_streams.cli.stay import STOPPING, stay_until_interrupted
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import get_settings
from shop_streams.terminal import escaped, speaker

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Spark streams of an online shop that live inside Dagster.\n\n"
    "Start with [bold]shop-streams demo[/], or [bold]up[/] and then [bold]simulate[/]. "
    "Settings are environment variables SHOP_STREAMS_…; docs/deploy.md lists them.",
)
app.add_typer(dead_letters_app, name="dead-letters")
HOMES = "SHOP_STREAMS_HOME names the folder of the stack, .shop_streams by default."
INTERRUPTED = 130  # the exit status after Ctrl-C
console = Console(emoji=False)  # `:warning:` in an event is no emoji

Json = Annotated[bool, typer.Option("--json", help="print JSON for programs")]


@app.command(epilog=f"{HOMES} Example: SHOP_STREAMS_HOME=/data/shop shop-streams up --detach")
def up(
    detach: Annotated[bool, typer.Option("--detach", help="return once all is healthy, and leave it running")] = False,
) -> None:
    """Start the embedded stack, wait until each service is healthy, and stay until Ctrl-C."""
    from shop_streams.local import stack

    settings = get_settings()
    stack.up(settings, console)
    console.print(f"Dagster: {settings.dagster_url}   logs: {escaped(settings.home)}/logs", highlight=False)
    if not detach:
        stay_until_interrupted(settings, console)


@app.command(epilog="Example: shop-streams prepare --subscribers")
def prepare(
    spark_only: Annotated[
        bool, typer.Option("--spark-only", help="only write spark.conf into the home folder")
    ] = False,
    subscribers: Annotated[
        bool,
        typer.Option("--subscribers", help="also create subscribers_restaurants, for a database that no shop uses yet"),
    ] = False,
) -> None:
    """For containers and systemd: wait for the named Kafka and PostgreSQL, and create topics and tables in them.

    `--spark-only` writes Spark's configuration instead.
    """
    from shop_streams.defs.domains import DOMAINS
    from shop_streams.local.health import wait_healthy
    from shop_streams.local.prepare import prepare_dagster, prepare_spark
    from shop_streams.local.services import external_probes, of_stores
    from shop_streams.local.stack import prepare_stores

    settings = get_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    if spark_only:
        prepare_spark(settings)
    else:
        prepare_dagster(settings)
        wait_healthy(settings, of_stores(external_probes(settings)), console)
        prepare_stores(settings)
        if subscribers:
            for domain in DOMAINS:
                domain.create_shop_tables(settings.postgres)


@app.command(epilog=HOMES)
def down() -> None:
    """Stop the embedded stack of this home. Data stays; deleting the home folder is a full reset."""
    from shop_streams.local import stack

    settings = get_settings()
    with console.status(STOPPING):
        was_up = stack.down(settings, speaker(console))
    console.print("Stopped." if was_up else f"Nothing of {escaped(settings.home)} was running.")


@app.command(epilog=f"{HOMES} Example: shop-streams status --json | jq .streams")
def status(as_json: Json = False) -> None:
    """Show each service, each stream in words, and the addresses. Exit status 1 if something is not healthy."""
    from shop_streams.cli.status import collect, print_status

    settings = get_settings()
    if not as_json and not settings.home.is_dir():
        raise ShopStreamsError(
            f"There is no home {settings.home}, so nothing runs. `shop-streams up` makes it; set SHOP_STREAMS_HOME for another one."
        )
    state = collect(settings)
    if as_json:
        typer.echo(json.dumps(state, indent=2))
    else:
        print_status(state, console)
    if any(service["state"] not in ("healthy", "unknown") for service in state["services"].values()):
        raise typer.Exit(1)


@app.command(epilog="Example: SHOP_STREAMS_HOME=/tmp/demo shop-streams demo --once")
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="check every number, then stop; exit status 0 if all are right")
    ] = False,
) -> None:
    """Start everything, send a day of shop traffic through the real endpoints, and show what came out."""
    from shop_streams.cli.demo import run_demo
    from shop_streams.local.supervision import is_up

    settings = get_settings()
    was_up = is_up(settings)
    right = run_demo(settings, console, once)
    if was_up:
        console.print("The stack was up before the demo, and stays up; `shop-streams down` stops it.")
    elif not once:
        stay_until_interrupted(settings, console)
    else:
        console.print("The stack is stopped. `shop-streams up` starts it again, with all that is there.")
    if once:
        raise typer.Exit(0 if right else 1)


app.command(epilog="Example: shop-streams simulate sales --count 5000 --rate 100")(simulate)


@app.command(epilog="Example: shop-streams aggregate --in-topic shop_events --out-topic past --until-caught-up")
def aggregate(
    in_topic: Annotated[str, typer.Option("--in-topic", help="topic of shop events")],
    out_topic: Annotated[str, typer.Option("--out-topic", help="topic for the hourly metrics; created where missing")],
    until_caught_up: Annotated[
        bool,
        typer.Option("--until-caught-up", help="aggregate what the topic holds, send each hour once, and stop"),
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", help="folder to continue from; without it the topic is read from its beginning"),
    ] = None,
    window_anchor: Annotated[
        Literal["hour", "first_event"], typer.Option("--window-anchor", help="where the first window begins")
    ] = "hour",
    first_day: Annotated[
        datetime | None,
        typer.Option(
            "--first-day", formats=["%Y-%m-%d"], help="older events are refused; default: SHOP_STREAMS_FIRST_DAY"
        ),
    ] = None,
) -> None:
    """Write the hourly metrics of one topic to another, with the same aggregation as the managed stream."""
    from shop_streams.cli.aggregate import run_aggregate

    day = first_day.date() if first_day else None
    run_aggregate(get_settings(), console, in_topic, out_topic, until_caught_up, checkpoint, window_anchor, day)


app.command("recover", epilog="Example: shop-streams recover shop_events_ingest --yes")(recover_stream)
app.command(epilog="Example: shop-streams show sales/hourly_metrics --limit 24")(show)
app.command(context_settings={"ignore_unknown_options": True}, epilog=EXAMPLE)(forget_user)  # an ID may be -5


def main() -> None:
    """Entry point: an expected error is one line on standard error and exit status 1."""
    os.umask(0o077)  # only the owner can read what a command writes into the home
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ must not end the command
    code = _run()
    if code == INTERRUPTED:
        Console(stderr=True).print("Interrupted.")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # Arrow's threads may still be reading for `show`: then Python's normal shutdown sometimes crashes or hangs.
    os._exit(code)


def _run() -> int:
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what a command has started ends with it
    try:
        app()
    except SystemExit as ended:  # as typer ends a command
        return int(ended.code or 0)
    except (ShopStreamsError, KafkaException, OSError) as problem:
        return _failed(_in_plain_words(problem))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as problem:  # PostgreSQL's, and all others are raised again: its classes come with Dagster, which is slow to import
        from shop_streams.streaming.patience import DATABASE_ERRORS

        if not isinstance(problem, DATABASE_ERRORS):
            raise
        step = "`shop-streams status` shows whether it is healthy."
        return _failed(ShopStreamsError(f"PostgreSQL did not answer, or refused: {str(problem).strip()}\n{step}"))
    return 0


def _failed(problem: Exception) -> int:
    text = escaped(problem, lines=True)
    Console(stderr=True, emoji=False).print(f"[red]error:[/] {text}", highlight=False, soft_wrap=True)
    return 1


def _in_plain_words(problem: Exception) -> Exception:
    """The problem, with the next step if Kafka refuses us or does not answer."""
    if not isinstance(problem, KafkaException):
        return problem
    from shop_streams.kafka_access import AWAY, refusal

    try:
        kafka = get_settings().kafka
        away = problem.args and isinstance(problem.args[0], KafkaError) and problem.args[0].code() in AWAY
        return refusal(kafka, problem) or (ShopStreamsError(kafka.no_answer) if away else problem)
    except ShopStreamsError:
        return problem


if __name__ == "__main__":
    main()
