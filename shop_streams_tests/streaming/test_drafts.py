"""What a replay would send: each letter after its fix, validated by its domain."""

import io
import json
import time
from collections.abc import Sequence
from typing import Any

import fastavro
import pytest

from shop_streams.avro import avro
from shop_streams.defs.clickstream.schema import CLICK_SCHEMA
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.streaming import drafts as drafts_module
from shop_streams.streaming.drafts import (
    Attempt,
    Draft,
    FixFailed,
    State,
    chunks,
    make_drafts,
    origin_of,
    validate_with,
)
from shop_streams.streaming.replay import summary
from shop_streams_tests.harness import free_ports
from shop_streams_tests.streaming.letters import letter


def validate(domain: str, attempts: Sequence[Attempt]) -> list[str | None]:
    """Rules of a test: a value is good when it is not empty and does not say bad."""
    assert all(one.topic == f"topic_{domain}" for one in attempts), "each domain's rules validate its own letters"
    values = [one.value for one in attempts]
    return ["empty value" if not value else "bad value" if b"bad" in value else None for value in values]


def test_a_letter_that_the_fix_cannot_read_holds_up_no_other_and_the_rules_validate_the_rest() -> None:
    def fix(raw: bytes) -> bytes:
        if raw == b"unreadable":
            raise FixFailed("no object")
        return raw.replace(b"worse", b"").replace(b"mend me", b"mended")

    values = [b"mend me", b"unreadable", b"worse", b"bad", None]
    letters = [letter(n, raw, domain=("sales", "promotions")[n % 2]) for n, raw in enumerate(values)]
    made = list(make_drafts(letters, fix, validate))
    assert [(draft.letter["kafka_offset"], draft.after, draft.verdict) for draft in made] == [
        (0, b"mended", "good"),
        (1, None, "fix failed: no object"),
        (2, b"", "refused: empty value"),
        (3, b"bad", "refused: bad value"),
        (4, None, "refused: empty value"),
    ]
    ready, failed, refused = State.READY, State.FIX_FAILED, State.REFUSED
    assert [draft.state() for draft in made] == [ready, failed, refused, refused, refused]
    assert [draft.state(send_refused=True) for draft in made] == [ready, failed, ready, ready, ready]
    assert summary(draft.state() for draft in made) == "1 would be sent, 3 would be refused, 1 fix failed"


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        ("item_price is missing", "good"),
        ("poisoned in shop_events_ingest: overflow", "good"),  # no row came of it
        ("poisoned in hourly_metrics: overflow", "it is already a row of the lake, only hourly_metrics left it out"),
    ],
)
def test_a_letter_that_is_a_row_already_is_not_sent_again(reason: str, verdict: str) -> None:
    [draft] = make_drafts([letter(0, reason=reason)], lambda raw: raw, validate, lake_streams=["shop_events_ingest"])
    assert verdict in draft.verdict
    assert draft.state() is (State.READY if verdict == "good" else State.REFUSED)


def test_a_fix_may_start_from_the_value_that_was_refused_first() -> None:
    again, gone = letter(7, b""), letter(8, b"")
    made = list(make_drafts([again, gone], lambda raw: raw + b"!", validate, {origin_of(again): b"first"}))
    assert [(draft.before, draft.after) for draft in made] == [(b"first", b"first!"), (b"", None)]
    assert made[1].state() is State.FIX_FAILED and "no longer exists" in made[1].verdict


def test_chunks_are_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts_module, "CHUNK", 3)
    monkeypatch.setattr(drafts_module, "CHUNK_BYTES", 10)
    assert list(chunks([1, 1, 1, 1, 9, 2, 50, 1], lambda item: item)) == [[1, 1, 1], [1, 9], [2], [50], [1]]
    assert list(chunks([], lambda item: item)) == []


def test_without_spark_nothing_is_validated_and_the_error_has_a_next_step() -> None:
    [port] = free_ports(1)
    settings = Settings(spark_remote=f"sc://127.0.0.1:{port}")

    def never() -> Any:
        raise AssertionError("no session is opened")

    from shop_streams.defs.domains import LAKE_STREAMS

    began = time.monotonic()
    with pytest.raises(ShopStreamsError, match=rf"{port}.*None of them was sent.*status"):
        validate_with(LAKE_STREAMS, settings, never)("sales", [Attempt("shop_events", b"{}")])
    assert time.monotonic() - began < 5
    with pytest.raises(ShopStreamsError, match=r"'retired'.*app_events"):
        validate_with(LAKE_STREAMS, settings, never)("retired", [Attempt("t", b"{}")])


def test_a_draft_has_its_origin() -> None:
    assert Draft(letter(5), b"").origin == "topic_sales:0:5"


CLICK = {"timestamp": 1764000000000, "eventType": "buy_button_click", "location": None, "sessionId": "0:a:b"}
HEADERS: list[dict[str, Any]] = [
    {"key": "event_id", "value": b"e1"},
    {"key": "via_collector", "value": b""},
    {"key": "event_id", "value": None},
    {"key": "replay_of", "value": b"topic_sales:0:1"},
]


def avro_click(**fields: Any) -> bytes:
    """Written without the project's encoder."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(dict(CLICK_SCHEMA)), CLICK | fields)
    return out.getvalue()


def jq_like(raw: bytes) -> bytes:
    """As `jq '.price = "12.50"'` writes it."""
    return json.dumps(json.loads(raw) | {"price": "12.50"}, indent=2).encode()


@pytest.mark.parametrize(
    ("raw", "fix", "after", "failed"),
    [
        (avro_click(price="twelve", amount="2"), jq_like, avro_click(price="12.50", amount="2"), None),
        (avro_click(price="twelve"), lambda text: text, avro_click(price="twelve"), None),
        (b"\x00" * 4 + b"\x07" + avro_click(), lambda raw: raw[5:], avro_click(), None),  # can't be read: as it is
        (avro_click()[:-1], lambda raw: raw + b"\x00", avro_click(), None),
        (avro_click(), lambda _: b"{half", None, "the fixed text is no Avro record: not JSON"),
        (avro_click(), lambda _: b'{"timestamp": "noon"}', None, "timestamp"),
        (avro_click(), lambda _: b'{"timestamp": 1, "prize": "2"}', None, "prize"),
    ],
)
def test_a_fix_of_an_avro_record_gets_json_and_its_answer_is_avro_again(
    raw: bytes, fix: Any, after: bytes | None, failed: str | None
) -> None:
    one = letter(0, raw, key=b"party", headers=HEADERS)
    asked: list[Attempt] = []

    def good(_domain: str, attempts: Sequence[Attempt]) -> list[str | None]:
        asked.extend(attempts)
        return [None] * len(attempts)

    [draft] = make_drafts([one], fix, good, encodings={one["topic"]: avro(CLICK_SCHEMA)})
    assert draft.after == after
    if failed is not None:
        assert draft.state() is State.FIX_FAILED and failed in draft.verdict
        return
    assert asked == [Attempt(one["topic"], after, b"party", HEADERS)], "the rules see key and headers too"


def test_a_person_sees_avro_as_json_and_what_is_none_as_it_is() -> None:
    sound, broken = avro_click(price="1 490 Kč"), avro_click()[:-2]
    shown, after = Draft(letter(0, sound), sound, broken, encoding=avro(CLICK_SCHEMA)).shown
    assert json.loads(shown or b"") == CLICK | {"price": "1 490 Kč", "amount": None} and "Kč" in (shown or b"").decode()
    assert after == broken


def test_a_replayed_record_keeps_its_headers_in_order_but_for_those_of_its_way_into_the_topic() -> None:
    draft = Draft(letter(5, headers=HEADERS), b"")
    assert draft.headers == [("event_id", b"e1"), ("event_id", None), ("replay_of", b"topic_sales:0:5")]
    assert Draft(letter(5), b"").headers == [("replay_of", b"topic_sales:0:5")]
