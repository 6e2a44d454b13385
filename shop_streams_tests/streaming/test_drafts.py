"""What a replay would send: each letter after its fix, validated by its domain."""

import time
from typing import Any

import pytest

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.streaming import drafts as drafts_module
from shop_streams.streaming.drafts import Draft, FixFailed, State, chunks, make_drafts, origin_of, validate_with
from shop_streams.streaming.replay import summary
from shop_streams_tests.harness import free_ports
from shop_streams_tests.streaming.letters import letter


def validate(domain: str, values: Any) -> list[str | None]:
    """Rules of a test: a value is good when it is not empty and does not say bad."""
    assert all(topic == f"topic_{domain}" for topic, _ in values), "each domain's rules validate its own letters"
    return ["empty value" if not value else "bad value" if b"bad" in value else None for _, value in values]


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
        validate_with(LAKE_STREAMS, settings, never)("sales", [("shop_events", b"{}")])
    assert time.monotonic() - began < 5
    with pytest.raises(ShopStreamsError, match=r"'retired'.*app_events"):
        validate_with(LAKE_STREAMS, settings, never)("retired", [("t", b"{}")])


def test_a_draft_has_its_origin() -> None:
    assert Draft(letter(5), b"").origin == "topic_sales:0:5"
