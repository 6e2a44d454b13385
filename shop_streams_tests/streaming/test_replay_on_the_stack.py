"""Replays on the real Kafka and PostgreSQL: each letter once, whatever cuts them off."""

from shop_streams.defs.sales.streams import INGEST as SALES
from shop_streams.kafka import offset_ranges
from shop_streams.streaming.drafts import Draft, State, origin_of
from shop_streams.streaming.replay import replay
from shop_streams.streaming.replay_ledger import open_ledger
from shop_streams_tests.harness import Stack, exact, wait_for
from shop_streams_tests.streaming.bad_records import chosen, mended, open_places, rows_of, send_broken


def test_a_replay_that_was_cut_off_is_looked_for_in_the_topic(stack: Stack) -> None:
    sent, unsent = send_broken(stack, "cut-off-after"), send_broken(stack, "cut-off-before")
    marks = {number: high for number, (_, high) in offset_ranges(stack.settings.kafka, "shop_events").items()}
    [result] = replay([mended(sent)], stack.settings)
    landed = result.detail.removeprefix("now at ")
    with open_ledger(stack.settings) as ledger:
        # As a killed replay leaves them: begun, and not known to be sent, nor where.
        ledger.cursor.execute(
            "update dead_letter_replays set sent = false, landed = null where origin = %s", (origin_of(sent),)
        )
        ledger.begin(origin_of(unsent), marks)
    again = list(replay([mended(sent), mended(unsent)], stack.settings))
    assert {result.draft.origin: result.state for result in again} == {
        origin_of(sent): State.ALREADY,
        origin_of(unsent): State.SENT,
    }
    assert chosen(stack).replay_of[landed] == origin_of(sent), "where it lies was found too"
    wait_for("both rows", lambda: rows_of(stack, "cut-off-after") == rows_of(stack, "cut-off-before") == 1)
    wait_for("the accounting to be exact", lambda: exact(SALES, stack))
    assert rows_of(stack, "cut-off-after") == rows_of(stack, "cut-off-before") == 1


def test_a_letter_that_kafka_does_not_take_is_told_and_stays_open(stack: Stack) -> None:
    letter, sound = send_broken(stack, "too-large"), send_broken(stack, "beside-it")
    huge = Draft(letter, letter["raw"], b"x" * 30_000_000)
    results = {result.draft.origin: result for result in replay([huge, mended(sound)], stack.settings)}
    assert results[origin_of(letter)].state is State.NOT_TAKEN and "size" in results[origin_of(letter)].detail.lower()
    assert results[origin_of(sound)].state is State.SENT
    assert origin_of(letter) in open_places(stack)
