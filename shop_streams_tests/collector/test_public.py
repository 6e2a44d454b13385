"""The public endpoints: every answer, and what is recorded of a click."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.collector import public
from shop_streams.collector.metrics import Answers
from shop_streams.collector.public import PIXEL, ClickEndpoints
from shop_streams.settings import Settings
from shop_streams_tests.collector.clients import EVENT, NOON, PARTY, SESSION, VIEW, Client, in_base36, query
from shop_streams_tests.patching import replace_in

ITEM = "https://shop.example/katalog/item/42/"
BODY = json.dumps(EVENT).encode()


@pytest.fixture
def client() -> Client:
    return Client()


def test_a_click_becomes_a_record(client: Client) -> None:
    before = time.time_ns() // 1_000_000
    answer = client.ask(query=query(
        l=ITEM, r="https://shop.example/", t="buy_button_click", w="uq", h="qd", i="1ak", j="sj", k="2", u="(sprice!1 490 €!damount!2!)"
    ))  # fmt: skip
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "image/gif", PIXEL)
    [(topic, key, _, headers)] = client.producer.sent
    [record] = client.records()
    assert (topic, key) == ("online_store", PARTY.encode())
    assert before <= record.pop("timestamp") <= time.time_ns() // 1_000_000
    assert record == {
        "eventType": "buy_button_click", "location": ITEM, "sessionId": SESSION, "price": "1 490 €", "amount": "2"
    }  # fmt: skip
    assert before <= int(headers.pop("received_at")) <= time.time_ns() // 1_000_000
    assert json.loads(headers.pop("parameters")) == {"price": "1 490 €", "amount": 2}
    assert {name: value.decode() for name, value in headers.items()} == {
        "event_id": f"{VIEW}0", "page_view_id": VIEW, "client_timestamp": str(NOON), "is_new_party": "true",
        "is_first_in_session": "false", "corrupt": "false", "referer": "https://shop.example/", "viewport": "1106x949",
        "screen": "1676x1027", "pixel_ratio": "2",
    }  # fmt: skip
    assert client.clicks() == {"recorded": 1}


def test_what_is_unknown_has_no_header(client: Client) -> None:
    client.ask(query=query(t=None))
    [(_, _, _, headers)] = client.producer.sent
    assert set(headers) == {
        "event_id", "page_view_id", "received_at", "client_timestamp", "is_new_party", "is_first_in_session", "corrupt"
    }  # fmt: skip
    [record] = client.records()
    assert [record[name] for name in ("eventType", "location", "price", "amount")] == [None] * 4


def test_the_pixel_is_one_transparent_pixel() -> None:
    assert PIXEL[:6] == b"GIF89a" and PIXEL[6:10] == b"\x01\x00\x01\x00"
    control = PIXEL.index(b"\x21\xf9\x04")
    assert PIXEL[control + 3] & 1 and PIXEL[-1:] == b";", "it has a transparent colour"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", "dropped: missing_field"),
        ("p", "dropped: missing_field"),
        ("%", "dropped: missing_field"),
        ("&&=&=", "dropped: missing_field"),
        ("\udcff\ud800=\udc00", "dropped: missing_field"),
        (query(p="x"), "dropped: party"),
        (query(s="x"), "dropped: session"),
        (query(c="!"), "dropped: client_time"),
        (query(l="x" * 16_000), "dropped: query_too_long"),
        (query(x="1"), "corrupt"),
        (query(x=None), "corrupt"),
        (query(l="\0" * 100), "recorded"),
        (query(l="http://[", r="http://]", t="\ufffd"), "recorded"),
        (query(u="("), "recorded"),
        (query(v="x" * 3_000, e="y" * 3_000), "recorded"),
    ],
)
def test_whatever_came_gets_the_pixel_and_is_counted(client: Client, text: str, outcome: str) -> None:
    answer = client.ask(query=text)
    assert (answer.status, answer.body) == (200, PIXEL)
    assert client.clicks() == {outcome: 1}
    assert len(client.producer.sent) == (not outcome.startswith("dropped"))
    for *_, headers in client.producer.sent:
        assert headers["corrupt"] == (b"true" if outcome == "corrupt" else b"false")


@given(st.text(), st.text(max_size=20))
@settings(deadline=None, max_examples=60)
def test_no_query_fails(text: str, name: str) -> None:
    client = Client()
    for one in (text, f"{query()}&{name}={text}", query(l=text, u=f"(sprice!{text}!)", t=text)):
        assert client.ask(query=one, client="127.0.0.1:1").status == 200


def test_an_address_of_7000_characters_is_taken(client: Client) -> None:
    text = query(l=f"https://shop.example/?q={'x' * 7_000}")
    assert 7_000 < len(text) < 8_000
    assert client.ask(query=text).status == 200 and client.clicks() == {"recorded": 1}


@pytest.mark.parametrize("value", ["{etag}", "W/{etag}", '"other", {etag}', "*"])
def test_a_pixel_that_a_cache_kept_is_no_click(client: Client, value: str) -> None:
    etag = client.ask(query="").headers["etag"]
    answer = client.ask(query=query(), headers={"if-none-match": value.format(etag=etag)})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag) and not client.producer.sent
    assert client.ask(query=query(), headers={"if-none-match": '"other"'}).status == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        *[(method, "/csc-event", "GET") for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")],
        *[(method, "/event", "POST, OPTIONS") for method in ("GET", "HEAD", "PUT", "OPTIONS")],
        *[(method, "/divolte.js", "GET, HEAD") for method in ("POST", "OPTIONS")],
    ],
)
def test_other_methods(client: Client, method: str, path: str, allow: str) -> None:
    answer = client.ask(method, path, query())
    assert (answer.status, answer.headers["allow"]) == (405, allow) and not client.producer.sent


def test_without_kafka_a_click_is_503_and_a_wrong_one_is_not(client: Client) -> None:
    client.producer.ill["online_store"] = "Kafka does not answer"
    for answer in (client.ask(query=query()), client.post(BODY)):
        assert answer.status == 503 and int(answer.headers["retry-after"]) > 0
    assert client.ask(query="").status == 200
    assert client.clicks() == {"dropped: missing_field": 1}


def test_a_json_event_becomes_a_record(client: Client) -> None:
    answer = client.post(json.dumps(EVENT | {"parameters": {"price": 12.5, "amount": 2}}).encode())
    assert (answer.status, answer.body) == (204, b"")
    [(topic, key, _, headers)] = client.producer.sent
    [record] = client.records()
    assert (topic, key) == ("online_store", PARTY.encode())
    del record["timestamp"], headers["received_at"]
    assert record == {
        "eventType": "pageView", "location": None, "sessionId": SESSION, "price": "12.5", "amount": "2"
    }  # fmt: skip
    assert headers == {
        "event_id": b"e1", "client_timestamp": b"%d" % NOON, "is_new_party": b"false", "is_first_in_session": b"true",
        "corrupt": b"false", "parameters": b'{"price":12.5,"amount":2}',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "more", "status"),
    [
        (BODY, {}, 204),
        (BODY, {"content_type": "Application/JSON"}, 204),
        (BODY, {"content_type": "application/json; charset=utf-8"}, 415),
        (BODY, {"content_type": "text/plain"}, 415),
        (BODY, {"content_type": "application/json\napplication/json"}, 415),
        (BODY, {"content_encoding": "br"}, 415),
        (BODY, {"content_encoding": "gzip"}, 400),
        (BODY, {"party": ""}, 400),
        (BODY, {"party": "0:1:x:y"}, 400),
        (b"", {}, 400),
        (b"{}", {}, 400),
        (b"[" * 10_000, {}, 400),
        (BODY.replace(b"pageView", b"\\ud800"), {}, 400),
        (BODY.replace(b"pageView", b"\\u0000"), {}, 204),
        (BODY.replace(b"e1", b"e" * 3_900), {}, 204),
        (BODY + b" " * (16_384 - len(BODY)), {}, 204),
        (BODY + b" " * (16_385 - len(BODY)), {}, 413),
    ],
)
def test_answers_to_json(client: Client, body: bytes, more: dict[str, Any], status: int) -> None:
    assert client.post(body, **more).status == status
    assert len(client.producer.sent) == (status == 204)


@given(
    st.binary(max_size=300) | st.text(max_size=100).map(lambda text: json.dumps(EVENT | {"event_id": text}).encode())
)
@settings(deadline=None, max_examples=60)
def test_no_body_fails(body: bytes) -> None:
    assert Client().post(body).status in (204, 400)


@pytest.mark.parametrize(
    ("by", "ahead", "believed"),
    [
        ("received", 0, False),
        ("client", 0, True),
        ("client", -7 * 86_400_000, True),
        ("client", -7 * 86_400_000 - 1, False),
        ("client", 300_000, True),
        ("client", 300_001, False),
    ],
)
def test_the_time_of_a_click(monkeypatch: pytest.MonkeyPatch, by: str, ahead: int, believed: bool) -> None:
    replace_in(monkeypatch, public, time, time_ns=lambda: NOON * 1_000_000)
    client = Client(click_event_time=by)
    client.ask(query=query(c=in_base36(NOON + ahead)))
    [record] = client.records()
    assert record["timestamp"] == (NOON + ahead if believed else NOON)
    [(_, _, _, headers)] = client.producer.sent
    assert (headers["received_at"], headers["client_timestamp"]) == (b"%d" % NOON, b"%d" % (NOON + ahead))


def test_the_tag(tmp_path: Path) -> None:
    client = Client()
    (tmp_path / "divolte.js").write_text("divolte = {};")
    clicks = ClickEndpoints(Settings(), client.producer, Answers(), tmp_path / "divolte.js")  # type: ignore[arg-type]
    client.collector._clicks = clicks
    answer = client.ask(path="/divolte.js")
    assert (answer.status, answer.body) == (200, b"divolte = {};")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "max-age" in answer.headers["cache-control"]
    etag = answer.headers["etag"]
    assert hashlib.sha256(b"divolte = {};").hexdigest().startswith(etag.strip('"'))
    assert client.ask("HEAD", "/divolte.js").headers["etag"] == etag
    assert client.ask(path="/divolte.js", headers={"if-none-match": etag}).status == 304
    assert client.ask(path="/divolte.js", headers={"if-none-match": '"older"'}).status == 200


def test_a_tag_that_is_not_built_says_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    missing = tmp_path / "divolte.js"
    client.collector._clicks = ClickEndpoints(Settings(), client.producer, Answers(), missing)  # type: ignore[arg-type]
    answer = client.ask(path="/divolte.js")
    assert answer.status == 503 and b"make setup" in answer.body
    assert str(missing) in caplog.text and "make setup" in caplog.text
