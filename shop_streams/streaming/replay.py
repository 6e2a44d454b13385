"""Find what was refused, and send it again once it is fixed: each dead letter once, however often somebody asks.

A replay is written down in PostgreSQL before and after it is sent. One that was cut off in between is looked for in the
topic itself, by the header that every replayed record carries, before anything is sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import offset_ranges, producer, read_topic
from shop_streams.lake import reader
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.drafts import Draft, Letter, State, chunks, origin_of
from shop_streams.streaming.replay_ledger import Ledger, open_ledger, origin_chain
from shop_streams.topics import REPLAY_OF

MAX_REPLAY_BYTES = 100_000_000
REASONS_TOLD = 20
ABOUT_THE_RECORD = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_MSG_SIZE)


@dataclass(frozen=True)
class Choice:
    """Which letters: of one domain, with a reason that contains a text, of these origins; None and () choose all."""

    domain: str | None = None
    reason: str | None = None
    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The chosen letters, oldest first; of these the origins that were replayed; and where replayed records came from."""

    letters: list[Letter]
    replayed: set[str] = field(default_factory=set)
    replay_of: dict[str, str] = field(default_factory=dict)
    firsts: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def open(self) -> list[Letter]:
        """Those that were not replayed."""
        return [letter for letter in self.letters if origin_of(letter) not in self.replayed]

    @property
    def records(self) -> dict[str, str]:
        """Origin of a letter that was replayed -> origin of the record that was made of it, where that is known."""
        landed = {letter: record for record, letter in self.replay_of.items()}
        return {origin: landed[origin] for origin in sorted(self.replayed & landed.keys())}


@dataclass(frozen=True)
class Result:
    """What became of a letter; `detail` says more where there is more."""

    draft: Draft
    state: State
    detail: str = ""


def find(settings: Settings, domain: str | None = None) -> list[Letter]:
    """All dead letters, oldest first, of one domain or of all."""
    table = reader.scan(
        DEAD_LETTERS.uri(settings),
        [column.name for column in DEAD_LETTERS.columns],
        pc.field("domain") == domain if domain else None,
    )
    return table.sort_by("at").to_pylist() if table.num_rows else []


def find_chosen(settings: Settings, choice: Choice, domains: Sequence[str], everything: bool = False) -> Found:
    """The letters of a choice: the open ones; also those replayed before when origins name them, or for `everything`.

    `firsts` of the answer has, for each letter, the value of the letter that was refused first and led to it.

    Raises:
        ShopStreamsError: the choice names a domain, reason or origin that does not exist; or a server is away.
    """
    letters = find(settings)
    with open_ledger(settings) as ledger:
        _look_for_cut_off(ledger, settings)
        sent, replay_of = ledger.sent(), ledger.replay_of()
    pool = letters if everything or choice.origins else [one for one in letters if origin_of(one) not in sent]
    chosen = choose(pool, choice, domains)
    values = {origin_of(letter): letter["raw"] for letter in letters}
    began = {origin: (origin_chain(origin, replay_of) or [origin])[-1] for origin in map(origin_of, chosen)}
    firsts = {origin: values[first] for origin, first in began.items() if first in values}
    return Found(chosen, sent & began.keys(), replay_of, firsts)


def choose(letters: Sequence[Letter], choice: Choice, domains: Sequence[str]) -> list[Letter]:
    """Those of `letters` that are chosen. A name that fits nothing is an error that tells what there is.

    Raises:
        ShopStreamsError: there is no such domain, reason or origin.
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
                f"There is no dead letter at {', '.join(map(repr, missing))}{within}. An origin is topic:partition:offset; "
                "`shop-streams dead-letters list --all` prints them."
            )
        found = [letter for letter in found if origin_of(letter) in choice.origins]
    if choice.reason is None or not found:
        return found
    reasons = Counter(letter["reason"] for letter in found)
    found = [letter for letter in found if choice.reason in letter["reason"]]
    if not found:
        told = "; ".join(f"{reason!r} ({count})" for reason, count in reasons.most_common(REASONS_TOLD))
        more = f"; and {len(reasons) - REASONS_TOLD} more" if len(reasons) > REASONS_TOLD else ""
        raise ShopStreamsError(f"No reason contains {choice.reason!r}. The letters' reasons are: {told}{more}.")
    return found


def replay(drafts: Sequence[Draft], settings: Settings, send_refused: bool = False) -> Iterator[Result]:
    """Send what is mended and good to its topic again; a result for each draft, once it is known.

    What the rules would refuse is sent only with `send_refused`; a letter that was replayed before is passed over.

    Raises:
        ShopStreamsError: another replay is under way, or a server does not answer.
    """
    with open_ledger(settings) as ledger:
        ledger.lock()
        _look_for_cut_off(ledger, settings)
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


def _look_for_cut_off(ledger: Ledger, settings: Settings) -> None:
    """For each letter that was begun and not noted as sent, the topic tells whether its record arrived."""
    begun = ledger.begun()
    for topic in sorted({_topic(origin) for origin in begun}):
        of_topic = {origin: marks for origin, marks in begun.items() if _topic(origin) == topic}
        ends = _ends(settings, topic)
        arrived = _replayed_records(topic, settings, of_topic.values())
        for origin in of_topic:
            if origin in arrived:
                ledger.note_sent(origin, arrived[origin])
            else:
                ledger.begin(origin, ends)  # up to here it did not arrive: nobody need read that again


def _topic(origin: str) -> str:
    return origin.rsplit(":", 2)[0]


def _ends(settings: Settings, topic: str) -> dict[int, int]:
    try:
        return {number: high for number, (_, high) in offset_ranges(settings.kafka, topic).items()}
    except KafkaException as error:
        raise ShopStreamsError(
            f"Kafka at {settings.kafka} does not tell the end of topic {topic}: {error.args[0]}. "
            "`shop-streams status` tells whether it is up."
        ) from error


def _replayed_records(topic: str, settings: Settings, marks: Iterable[dict[int, int]]) -> dict[str, str]:
    """The replayed records of the topic, from the lowest of the `marks` on: letter's origin -> origin of the record."""
    first: dict[int, int] = {}
    for one in marks:
        for number, mark in one.items():
            first[number] = min(mark, first.get(number, mark))
    return {
        origin.decode(): f"{topic}:{record.partition}:{record.offset}"
        for record in read_topic(settings.kafka, topic, first)
        if isinstance(origin := record.headers.get(REPLAY_OF), bytes)
    }


def _send(drafts: Sequence[Draft], settings: Settings, ledger: Ledger) -> tuple[list[Result], str]:
    """The results; and why Kafka takes nothing at present, or "" when it took something or refused records for themselves."""
    marks = {topic: _ends(settings, topic) for topic in {draft.letter["topic"] for draft in drafts}}
    for draft in drafts:
        ledger.begin(draft.origin, marks[draft.letter["topic"]])
    landed: dict[str, str] = {}
    problems: dict[str, str] = {}
    own: set[str] = set()  # origins of records that are refused whenever they come
    # One record a batch: the broker refuses batches, and one that is too large must take no other with it.
    # The topic's own limit decides on the size, not ours; after the time-out nothing of it is under way any more.
    options = {"enable.idempotence": True, "batch.num.messages": 1, "delivery.timeout.ms": 30_000}
    client = producer(settings.kafka, options | {"message.max.bytes": MAX_REPLAY_BYTES})
    for draft in drafts:

        def delivered(error: Any, message: Any, origin: str = draft.origin) -> None:
            if error is None:
                landed[origin] = f"{message.topic()}:{message.partition()}:{message.offset()}"
            else:
                problems[origin] = str(error)
                if error.code() in ABOUT_THE_RECORD:
                    own.add(origin)

        try:
            client.produce(draft.letter["topic"], draft.after, headers={REPLAY_OF: draft.origin}, on_delivery=delivered)
        except (KafkaException, BufferError) as error:
            own.add(draft.origin)
            problems[draft.origin] = f"{error}. Is it within the topic's size limit?"
    client.flush(60)
    results = []
    for draft in drafts:
        if draft.origin in landed:
            ledger.note_sent(draft.origin, landed[draft.origin])
            results.append(Result(draft, State.SENT, f"now at {landed[draft.origin]}"))
        else:
            problem = problems.get(draft.origin, "no acknowledgement within 60 s")
            results.append(
                Result(draft, State.NOT_TAKEN, f"{problem}. `shop-streams status` tells whether Kafka is up.")
            )
    away = next((result.detail for result in results if result.draft.origin not in own), "")
    return results, "" if landed else away


def summary(states: Iterable[State]) -> str:
    """How many letters of each state, in words."""
    counts = Counter(states)
    return ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state]) or "no open dead letters"
