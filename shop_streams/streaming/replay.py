"""Find dead letters and replay them: send their fixed values to their topic again, each letter once.

A ledger in PostgreSQL is written before and after a letter is sent. If a replay was interrupted in between, the next one looks
for its records in the topic, by the header that every replayed record has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import each_record, offset_ranges, producer
from shop_streams.kafka_access import refusal
from shop_streams.kafka_send import produce
from shop_streams.lake import reader
from shop_streams.settings import Settings
from shop_streams.streaming.agreement import letters_shift
from shop_streams.streaming.dead_letters import DEAD_LETTERS, stored_columns
from shop_streams.streaming.drafts import Draft, Letter, State, chunks, origin_of
from shop_streams.streaming.replay_ledger import Ledger, open_ledger, origin_chain
from shop_streams.topics import REPLAY_OF

MAX_REPLAY_BYTES = 100_000_000
REASONS_LISTED = 20
ABOUT_THE_RECORD = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_MSG_SIZE)


@dataclass(frozen=True)
class Choice:
    """A filter of letters: the domain, a text in the reason, and origins; None and () select all."""

    domain: str | None = None
    reason: str | None = None
    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The chosen letters, oldest first.

    `replayed`: origins of those that were replayed. `replay_of`: origin of a replayed record -> origin of its letter.
    `firsts`: letter's origin -> value of the first letter that led to it.
    """

    letters: list[Letter]
    replayed: set[str] = field(default_factory=set)
    replay_of: dict[str, str] = field(default_factory=dict)
    firsts: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def open(self) -> list[Letter]:
        """The letters that were not replayed."""
        return [letter for letter in self.letters if origin_of(letter) not in self.replayed]

    @property
    def records(self) -> dict[str, str]:
        """Origin of a replayed letter -> origin of its record in the topic, if known."""
        landed = {letter: record for record, letter in self.replay_of.items()}
        return {origin: landed[origin] for origin in sorted(self.replayed & landed.keys())}


@dataclass(frozen=True)
class Result:
    """The result of a letter's replay, with further words in `detail`."""

    draft: Draft
    state: State
    detail: str = ""


def find(settings: Settings, domain: str | None = None) -> list[Letter]:
    """The dead letters of one domain or of all domains, oldest first."""
    if not (there := stored_columns(settings)):
        return []
    names = [column.name for column in DEAD_LETTERS.columns]
    table = reader.scan(DEAD_LETTERS.uri(settings), there, pc.field("domain") == domain if domain else None)
    return [dict.fromkeys(names) | letter for letter in table.sort_by("at").to_pylist()]


def find_chosen(settings: Settings, choice: Choice, domains: Sequence[str], everything: bool = False) -> Found:
    """The open letters that match the choice; with origins, or for `everything`, also replayed letters.

    Raises:
        ShopStreamsError: the choice names a domain, reason or origin that does not exist, or a server does not answer.
    """
    letters = find(settings)
    with open_ledger(settings) as ledger:
        _look_for_interrupted(ledger, settings)
        sent, replay_of = ledger.sent(), ledger.replay_of()
    pool = letters if everything or choice.origins else [one for one in letters if origin_of(one) not in sent]
    chosen = choose(pool, choice, domains)
    values = {origin_of(letter): letter["raw"] for letter in letters}
    began = {origin: (origin_chain(origin, replay_of) or [origin])[-1] for origin in map(origin_of, chosen)}
    firsts = {origin: values[first] for origin, first in began.items() if first in values}
    return Found(chosen, sent & began.keys(), replay_of, firsts)


def choose(letters: Sequence[Letter], choice: Choice, domains: Sequence[str]) -> list[Letter]:
    """The letters that match the choice.

    Raises:
        ShopStreamsError: there is no such domain, reason or origin; lists the existing ones.
    """
    known = sorted({*domains, *(letter["domain"] for letter in letters)})
    if choice.domain is not None and choice.domain not in known:
        raise ShopStreamsError(f"There is no domain {choice.domain!r}. There are: {', '.join(known)}.")
    found = [letter for letter in letters if choice.domain in (None, letter["domain"])]
    if choice.origins:
        here = {origin_of(letter) for letter in found}
        if missing := [origin for origin in choice.origins if origin not in here]:
            within = f" in domain {choice.domain}" if choice.domain else ""
            raise ShopStreamsError(
                f"There is no dead letter at {', '.join(map(repr, missing))}{within}. An origin is topic:partition:offset, or file:line; "
                "`shop-streams dead-letters list --all` prints them."
            )
        found = [letter for letter in found if origin_of(letter) in choice.origins]
    if choice.reason is None or not found:
        return found
    reasons = Counter(letter["reason"] for letter in found)
    found = [letter for letter in found if choice.reason in letter["reason"]]
    if not found:
        told = "; ".join(f"{reason!r} ({count})" for reason, count in reasons.most_common(REASONS_LISTED))
        more = f"; and {len(reasons) - REASONS_LISTED} more" if len(reasons) > REASONS_LISTED else ""
        raise ShopStreamsError(f"No reason contains {choice.reason!r}. The letters' reasons are: {told}{more}.")
    return found


def replay(drafts: Sequence[Draft], settings: Settings, send_refused: bool = False) -> Iterator[Result]:
    """Send the good drafts to their topics again; yields a result for each draft.

    Refused drafts are sent only with `send_refused`. Letters that were replayed before are skipped.

    Raises:
        ShopStreamsError: another replay is running, or a server does not answer.
    """
    with open_ledger(settings) as ledger:
        ledger.lock()
        _look_for_interrupted(ledger, settings)
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


def _look_for_interrupted(ledger: Ledger, settings: Settings) -> None:
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
