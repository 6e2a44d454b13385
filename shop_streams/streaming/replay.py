"""Replay dead letters: send their fixed values to their topic again, each letter once.

A ledger in PostgreSQL is written before and after a letter is sent. If a replay was interrupted in between, the next one looks
for its records in the topic, by the header that every replayed record has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import each_record, offset_ranges, producer
from shop_streams.kafka_access import refusal
from shop_streams.kafka_send import produce
from shop_streams.settings import Settings
from shop_streams.streaming.agreement import letters_shift
from shop_streams.streaming.drafts import Draft, State, chunks
from shop_streams.streaming.replay_ledger import Ledger, open_ledger
from shop_streams.topics import REPLAY_OF

MAX_REPLAY_BYTES = 100_000_000
ABOUT_THE_RECORD = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_MSG_SIZE)


@dataclass(frozen=True)
class Result:
    """The result of a letter's replay, with further words in `detail`."""

    draft: Draft
    state: State
    detail: str = ""


def replay(drafts: Sequence[Draft], settings: Settings, send_refused: bool = False) -> Iterator[Result]:
    """Send the good drafts to their topics again; yields a result for each draft.

    Refused drafts are sent only with `send_refused`. Letters that were replayed before are skipped.

    Raises:
        ShopStreamsError: another replay is running, or a server does not answer.
    """
    with open_ledger(settings) as ledger:
        ledger.lock()
        look_for_interrupted(ledger, settings)
        sent = ledger.sent()
        ready: list[Draft] = []
        for draft in drafts:
            state = State.ALREADY if draft.origin in sent else draft.state(send_refused)
            if state is State.READY:
                ready.append(draft)
            else:
                yield Result(draft, state, draft.verdict if state is not State.ALREADY else "")
        refusing = ""
        for chunk in chunks(ready, lambda draft: len(draft.after or b"")):
            if refusing:
                yield from (Result(draft, State.NOT_TAKEN, f"not tried after: {refusing}") for draft in chunk)
                continue
            results, refusing = _send(chunk, settings, ledger)
            yield from results


def look_for_interrupted(ledger: Ledger, settings: Settings) -> None:
    """For each letter that was begun and not marked as sent, find out from the topic whether its record arrived."""
    begun = ledger.begun()
    for topic in sorted({_topic(origin) for origin in begun}):
        of_topic = {origin: begins for origin, begins in begun.items() if _topic(origin) == topic}
        ends = _ends(settings, topic)
        arrived = _replayed_records(topic, settings, of_topic.values())
        for origin in of_topic:
            if origin in arrived:
                ledger.mark_sent(origin, arrived[origin])
            else:
                ledger.begin(origin, ends)  # it is not in the topic up to here, so the next search begins here


def _topic(origin: str) -> str:
    return origin.rsplit(":", 2)[0]


def _ends(settings: Settings, topic: str) -> dict[int, int]:
    try:
        return {number: high for number, (_, high) in offset_ranges(settings.kafka, topic).items()}
    except KafkaException as error:
        raise refusal(settings.kafka, error, topic) or ShopStreamsError(
            f"Kafka at {settings.kafka} does not report the end of topic {topic}: {error.args[0]}. "
            "`shop-streams status` tells whether it is up."
        ) from error


def _replayed_records(topic: str, settings: Settings, begins: Iterable[dict[int, int]]) -> dict[str, str]:
    """Letter's origin -> origin of its replayed record, read from the lowest of the offsets `begins` of each partition on."""
    first: dict[int, int] = {}
    for one in begins:
        for number, offset in one.items():
            first[number] = min(offset, first.get(number, offset))
    shift = letters_shift(settings, topic)
    return {
        origin.decode(): f"{topic}:{record.partition + shift}:{record.offset}"
        for record in each_record(settings.kafka, topic, first)  # there may be more than fit into memory
        if isinstance(origin := record.headers.get(REPLAY_OF), bytes)
    }


def _send(drafts: Sequence[Draft], settings: Settings, ledger: Ledger) -> tuple[list[Result], str]:
    """The results, and why Kafka accepts no record at present; "" if it accepted one, or refused only unfit records."""
    topics = {draft.letter["topic"] for draft in drafts}
    ends = {topic: _ends(settings, topic) for topic in topics}
    shifts = {topic: letters_shift(settings, topic) for topic in topics}
    for draft in drafts:
        ledger.begin(draft.origin, ends[draft.letter["topic"]])
    landed, problems = dict[str, str](), dict[str, str]()
    unfit = set[str]()  # origins of records that Kafka would always refuse
    # One record in each batch: the broker refuses whole batches, and a record that is too large must not affect others.
    # The client's size limit is high, so that the topic's limit decides.
    options = {"enable.idempotence": True, "batch.num.messages": 1, "delivery.timeout.ms": 30_000}
    client = producer(settings.kafka, options | {"message.max.bytes": MAX_REPLAY_BYTES})
    for draft in drafts:

        def delivered(error: Any, message: Any, origin: str = draft.origin) -> None:
            if error is None:
                landed[origin] = f"{message.topic()}:{message.partition() + shifts[message.topic()]}:{message.offset()}"
            else:
                problems[origin] = str(refusal(settings.kafka, error, message.topic()) or error)
                if error.code() in ABOUT_THE_RECORD:
                    unfit.add(origin)

        try:
            topic, key = draft.letter["topic"], draft.letter["key"]
            produce(client, topic, draft.after, key, headers=draft.headers, on_delivery=delivered)
        except KafkaException as error:
            unfit.add(draft.origin)
            problems[draft.origin] = f"{error}. Is it within the topic's size limit?"
    client.flush(60)
    results = []
    for draft in drafts:
        if draft.origin in landed:
            ledger.mark_sent(draft.origin, landed[draft.origin])
            results.append(Result(draft, State.SENT, f"now at {landed[draft.origin]}"))
        else:
            problem = problems.get(draft.origin, "no acknowledgement within 60 s")
            told = f"{problem}. `shop-streams status` tells whether Kafka is up."
            results.append(Result(draft, State.NOT_TAKEN, told))
    away = next((result.detail for result in results if result.draft.origin not in unfit), "")
    return results, "" if landed else away


def summary(states: Iterable[State]) -> str:
    """The number of letters of each state, in words."""
    counts = Counter(states)
    return ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state]) or "no letters of streams"
