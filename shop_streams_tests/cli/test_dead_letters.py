"""Dead letters on the command line."""

import json
from unittest.mock import patch

from rich.console import Console
from typer.testing import CliRunner

from shop_streams.cli import dead_letters
from shop_streams.cli.dead_letters import dead_letters_app
from shop_streams.defs.sales.streams import INGEST as SALES
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import offset_ranges
from shop_streams.streaming.drafts import origin_of
from shop_streams_tests.harness import Stack, exact, wait_for
from shop_streams_tests.streaming.bad_records import chosen, open_places, rows_of, send_broken
from shop_streams_tests.streaming.letters import find


def replayed(stack: Stack, *words: str) -> tuple[int, str]:
    """Exit status and output of `dead-letters replay`, in this process: a command of its own loads Dagster for 3 s."""
    with patch.object(dead_letters, "console", Console(width=300)):
        done = CliRunner().invoke(dead_letters_app, ["replay", *words])
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done.exit_code, done.output


def test_a_replay_loses_no_letter_whatever_the_fix_makes_of_it(stack: Stack) -> None:
    letter, unreadable = send_broken(stack, "replayed"), send_broken(stack, "unreadable")
    origin, other = origin_of(letter), origin_of(unreadable)
    fix = "sed 's/bux/buy/; /unreadable/q7'"  # ends with status 7 where it meets the other letter

    status, told = replayed(stack, origin, "--fix", "true", "--yes")
    assert status == 1 and "1 would be refused." in told
    assert origin in open_places(stack), "an empty record was not sent, and the letter is open"

    status, told = replayed(stack, origin, "--fix", "true", "--yes", "--send-refused")
    assert status == 0 and "1 sent" in told
    assert origin not in open_places(stack)

    def refused_again() -> str | None:
        found = chosen(stack)
        return next((new for one in found.open if found.replay_of.get(new := origin_of(one)) == origin), None)

    again = wait_for("the letter that was refused again, with its origin", refused_again)
    assert chosen(stack, again).letters[0]["raw"] in (b"", None)
    listed = json.loads(stack.cli("dead-letters", "list", "--domain", "sales", "--json").stdout)
    assert {one["place"]: one["came_from"] for one in listed}[again] == origin

    # The letter that was sent, the one that came of it, and one that the fix can't read: each gets its own answer.
    words = (origin, again, other, "--from-origin", "--fix", fix)
    ends = offset_ranges(stack.settings.kafka, "shop_events")
    status, told = replayed(stack, *words, "--dry-run")
    assert status == 1 and "1 would be sent, 1 fix failed, 1 already replayed" in told and "exit status 7" in told
    assert '"bux"' in told and '"buy"' in told and offset_ranges(stack.settings.kafka, "shop_events") == ends
    status, told = replayed(stack, *words, "--yes")
    assert status == 1 and "1 sent, 1 fix failed, 1 already replayed" in told
    status, told = replayed(stack, origin, again, "--from-origin", "--fix", fix, "--yes")
    assert status == 0 and "2 already replayed" in told
    assert other in open_places(stack) and not {origin, again} & open_places(stack)
    wait_for("the mended record as a row", lambda: rows_of(stack, "replayed") == 1)
    wait_for("the accounting to be exact", lambda: exact(SALES, stack))
    assert rows_of(stack, "replayed") == 1


def test_the_command_line_shows_values_as_they_are_and_names_what_there_is(stack: Stack) -> None:
    nasty = b"[/red] \x1b[2J"
    stack.produce("shop_events", [nasty])
    letter = wait_for(
        "the dead letter", lambda: next((one for one in find(stack.settings) if one["raw"] == nasty), None)
    )
    run = CliRunner().invoke
    listed = stack.cli("dead-letters", "list", "--limit", "10000").stdout
    assert r"[/red] \x1b[2J" in listed and "\x1b[2J" not in listed
    shown = run(dead_letters_app, ["show", origin_of(letter)])
    assert shown.stdout_bytes == nasty and letter["reason"] in shown.stderr
    for words, told in (
        (["list", "--domain", "slaes"], "app_events, clickstream, community, promotions, sales"),
        (["replay", "--domain", "slaes", "--yes"], "app_events, clickstream, community, promotions, sales"),
        (["replay", origin_of(letter), "--reason", "no such reason"], letter["reason"]),
        (["replay", "shop_events:0:999999"], "list --all"),
        (["show", "[/red]"], "list --all"),
        (["replay", "--named-fix", "sed"], "seconds_to_milliseconds"),
        (["replay", "--named-fix", "trim", "--fix", "cat"], "choose one"),
    ):
        refused = run(dead_letters_app, words)
        assert isinstance(refused.exception, ShopStreamsError) and told in str(refused.exception), words
