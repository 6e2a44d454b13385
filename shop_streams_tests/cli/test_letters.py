"""A dead letter as `list --json` prints it: texts, and nothing is lost."""

import base64
import io
import json
from typing import Any

import fastavro
import pytest

from shop_streams.cli.letters import as_text, readable
from shop_streams.defs.clickstream.schema import CLICK_SCHEMA, CLICKS_TOPIC
from shop_streams.defs.domains import ENCODINGS, TOPICS
from shop_streams.streaming.drafts import Letter
from shop_streams_tests.streaming.letters import letter


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
