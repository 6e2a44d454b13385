"""A dead letter as `list --json` prints it: texts, and nothing is lost. And which values `list` and `replay` read."""

import base64
import io
import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastavro
import pytest
from rich.console import Console
from typer.testing import CliRunner

from shop_streams.cli import dead_letters
from shop_streams.cli.letters import as_text, readable
from shop_streams.defs.clickstream.schema import CLICK_SCHEMA, CLICKS_TOPIC
from shop_streams.defs.domains import ENCODINGS, TOPICS
from shop_streams.settings import Settings
from shop_streams.streaming import choice
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.drafts import Letter
from shop_streams_tests.streaming.letters import letter, stored
from shop_streams_tests.streaming.passing import watch


@pytest.fixture(autouse=True)
def topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODINGS, CLICKS_TOPIC.name, CLICKS_TOPIC.encoding)


def click(**fields: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(CLICK_SCHEMA)), {"timestamp": 5} | fields)
    return out.getvalue()


def of_clicks(raw: bytes | None, **more: Any) -> Letter:
    return letter(1, raw, topic=CLICKS_TOPIC.name, **more)


def test_each_topic_has_its_encoding() -> None:
    assert {topic.name for topic in TOPICS} <= ENCODINGS.keys()


def test_a_click_is_json_with_its_key_and_headers() -> None:
    headers = [{"key": "event_id", "value": b"e1"}, {"key": "odd", "value": b"\xff"}, {"key": "none", "value": None}]
    row = as_text(of_clicks(click(price="a lot"), key=b"0:a:b", headers=headers))
    assert json.loads(row["raw"])["price"] == "a lot" and "raw_base64" not in row
    assert row["key"] == "0:a:b"
    assert row["headers"] == [
        {"key": "event_id", "value": "e1"}, {"key": "odd", "value": "\ufffd"}, {"key": "none", "value": None},
    ]  # fmt: skip
    json.dumps(row, default=str)


def test_what_can_not_be_read_is_there_as_bytes() -> None:
    broken = click(price="a lot")[:-3] + b"\xff"
    assert readable(of_clicks(broken)) == broken
    assert base64.b64decode(as_text(of_clicks(broken))["raw_base64"]) == broken
    assert (as_text(of_clicks(None))["raw"], as_text(of_clicks(None))["key"]) == ("", None)
    sale = b'{"item_price": '
    assert as_text(letter(0, sale))["raw"] == sale.decode() and "raw_base64" not in as_text(letter(0, sale))


@pytest.fixture
def nine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Nine letters, of which the one at offset 0 was replayed."""
    settings = Settings(home=tmp_path, lake_uri=str(tmp_path))
    stored(tmp_path / DEAD_LETTERS.path, [letter(number, reason=f"reason {number % 2}") for number in range(9)])
    ledger = SimpleNamespace(begun=dict, sent=lambda: {"topic_sales:0:0"}, replay_of=dict)
    monkeypatch.setattr(choice, "open_ledger", lambda _settings: nullcontext(ledger))
    monkeypatch.setattr(dead_letters, "get_settings", lambda: settings)
    monkeypatch.setattr(dead_letters, "console", Console(width=200))
    return settings


@pytest.mark.parametrize(
    ("words", "first", "read", "told"),
    [
        ((), 1, 8, "8 dead letters\n"),
        (("--all",), 0, 9, "9 dead letters\n"),
        (("--limit", "3"), 1, 3, "8 dead letters, 3 shown; --limit 8 shows all"),
        (("--limit", "2", "--all", "--reason", "reason 1"), 1, 2, "4 dead letters, 2 shown; --limit 4 shows all"),
    ],
)
def test_the_list_reads_the_values_that_it_shows_and_counts_the_others(
    words: tuple[str, ...], first: int, read: int, told: str, nine: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = watch(monkeypatch)
    done = CliRunner().invoke(dead_letters.dead_letters_app, ["list", *words])
    assert done.exit_code == 0 and told in done.output
    origins = re.findall(r"topic_sales:0:\d", done.output)
    assert len(origins) == passing.rows("raw") == read and origins[0] == f"topic_sales:0:{first}"


def test_json_has_every_letter(nine: Settings) -> None:
    done = CliRunner().invoke(dead_letters.dead_letters_app, ["list", "--json", "--all", "--limit", "1"])
    rows = json.loads(done.output)
    assert [(row["kafka_offset"], row["replayed"]) for row in rows] == [(number, not number) for number in range(9)]


def test_a_replay_reads_the_values_that_were_chosen(nine: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    passing = watch(monkeypatch)
    found = choice.find_chosen(
        nine, choice.Choice(reason="reason 1", origins=("topic_sales:0:3", "topic_sales:0:4")), []
    )
    assert found.firsts == {"topic_sales:0:3": b"v"} and found.count == passing.rows("raw") == 1
