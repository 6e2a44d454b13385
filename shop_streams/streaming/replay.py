"""Find what was refused, and send it again once it is fixed: each dead letter once, however often somebody asks.

A replay is written down in PostgreSQL before and after it is sent. One that was cut off in between is looked for in the
topic itself, by the header that every replayed record carries, before anything is sent again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
import pyarrow.compute as pc
from confluent_kafka import KafkaException, Producer

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import read_topic, watermarks
from shop_streams.lake import log
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS

HEADER = "replay_of"
MAX_REPLAY_BYTES = 100_000_000
CHUNK = 500
DDL = """
create table if not exists dead_letter_replays (
    origin  text primary key,          -- topic:partition:offset of the dead letter
    sent    boolean not null,          -- false: begun, and perhaps cut off
    marks   jsonb not null,            -- the topic's high watermarks before it was sent: look for it from here on
    at      timestamptz not null default clock_timestamp()
)
"""

Letter = dict[str, Any]


def origin_of(letter: Letter) -> str:
    """The letter's place in its topic: topic:partition:offset."""
    return f"{letter['topic']}:{letter['kafka_partition']}:{letter['kafka_offset']}"


def mend_with(command: str | None) -> Callable[[bytes], bytes]:
    """A shell command that reads a value and writes the mended one, as the `fix` of `replay`; None changes nothing."""

    def mend(raw: bytes) -> bytes:
        if command is None:
            return raw
        answer = subprocess.run(command, shell=True, input=raw, capture_output=True, check=False)
        if answer.returncode:
            raise ShopStreamsError(f"The fix failed on {raw[:80]!r}: {answer.stderr.decode(errors='replace')}")
        return answer.stdout.rstrip(b"\n")

    return mend


def find(settings: Settings, domain: str | None = None, reason: str | None = None) -> list[Letter]:
    """Dead letters, oldest first, of one domain or of all; `reason` is a part of the reason's text."""
    table = log.scan(
        DEAD_LETTERS.uri(settings),
        [column.name for column in DEAD_LETTERS.columns],
        pc.field("domain") == domain if domain else None,
    )
    letters = table.sort_by("at").to_pylist() if table.num_rows else []
    return [letter for letter in letters if reason is None or reason in letter["reason"]]


def find_open(settings: Settings, domain: str | None = None, reason: str | None = None) -> list[Letter]:
    """Those of `find` that have not been replayed."""
    with _ledger(settings) as cursor:
        cursor.execute("select origin from dead_letter_replays where sent")
        sent = {row[0] for row in cursor.fetchall()}
    return [letter for letter in find(settings, domain, reason) if origin_of(letter) not in sent]


@contextmanager
def _ledger(settings: Settings) -> Iterator[Any]:
    """A cursor whose every statement is committed at once, on a connection of its own."""
    try:
        connection = psycopg2.connect(settings.postgres, connect_timeout=5)
    except psycopg2.OperationalError as error:
        raise ShopStreamsError(f"PostgreSQL knows what was replayed and does not answer: {error}") from error
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(hashtext('dead_letter_replays_ddl'))")
            cursor.execute(DDL)
            cursor.execute("select pg_advisory_unlock(hashtext('dead_letter_replays_ddl'))")
            yield cursor
    finally:
        connection.close()


def replay(
    letters: Sequence[Letter], settings: Settings, fix: Callable[[bytes], bytes] = lambda raw: raw
) -> Iterator[Letter]:
    """Send each letter's value, after `fix`, to its topic again; yields each once the broker has acknowledged it.

    A letter that was replayed before is passed over.

    Raises:
        ShopStreamsError: another replay is under way, or the broker did not take a record; those yielded are safe, and
            the rest can be replayed again.
    """
    with _ledger(settings) as cursor:
        cursor.execute("select pg_try_advisory_lock(hashtext('dead_letter_replays'))")
        if not cursor.fetchone()[0]:
            raise ShopStreamsError("Another replay is under way. Wait until it is done, then list what is left.")
        for start in range(0, len(letters), CHUNK):
            left = _not_sent_yet(letters[start : start + CHUNK], settings, cursor)
            yield from _replay_chunk(left, settings, fix, cursor)


def _not_sent_yet(letters: Sequence[Letter], settings: Settings, cursor: Any) -> list[Letter]:
    """Leave out what was sent; for what was begun and cut off, the topic tells."""
    cursor.execute(
        "select origin, sent, marks from dead_letter_replays where origin = any(%s)",
        ([origin_of(letter) for letter in letters],),
    )
    known = {origin: (sent, marks) for origin, sent, marks in cursor.fetchall()}
    cut_off = [letter for letter in letters if known.get(origin_of(letter), (True, {}))[0] is False]
    arrived = {
        origin
        for topic in {letter["topic"] for letter in cut_off}
        for origin in _origins_in(
            topic, settings, [known[origin_of(one)][1] for one in cut_off if one["topic"] == topic]
        )
    }
    for origin in arrived & {origin_of(letter) for letter in cut_off}:
        _note_sent(cursor, origin)
    done = arrived | {origin for origin, (sent, _) in known.items() if sent}
    return [letter for letter in letters if origin_of(letter) not in done]


def _origins_in(topic: str, settings: Settings, marks: Sequence[dict[str, int]]) -> set[str]:
    """The origins of the replayed records that the topic holds, from the lowest of the `marks` of each partition on."""
    first = {int(number): min(one.get(number, 0) for one in marks) for one in marks for number in one}
    found = (record.headers.get(HEADER) for record in read_topic(settings.kafka, topic, first))
    return {origin.decode() for origin in found if isinstance(origin, bytes)}


def _note_sent(cursor: Any, origin: str) -> None:
    cursor.execute("update dead_letter_replays set sent = true, at = clock_timestamp() where origin = %s", (origin,))


def _replay_chunk(
    letters: list[Letter], settings: Settings, fix: Callable[[bytes], bytes], cursor: Any
) -> Iterator[Letter]:
    values = [fix(letter["raw"]) if letter["raw"] is not None else None for letter in letters]
    marks = {
        topic: json.dumps({partition: high for partition, (_, high) in watermarks(settings.kafka, topic).items()})
        for topic in {letter["topic"] for letter in letters}
    }
    for letter in letters:
        cursor.execute(
            "insert into dead_letter_replays (origin, sent, marks) values (%s, false, %s)"
            " on conflict (origin) do update set marks = excluded.marks",
            (origin_of(letter), marks[letter["topic"]]),
        )
    acknowledged: list[Letter] = []
    failures: list[str] = []
    config = {"bootstrap.servers": settings.kafka, "enable.idempotence": True, "acks": "all"}
    # The topic's own limit decides on the size, not ours; after the time-out nothing of it is under way any more.
    producer = Producer(config | {"message.max.bytes": MAX_REPLAY_BYTES, "delivery.timeout.ms": 30_000, "log_level": 0})
    for letter, value in zip(letters, values, strict=True):

        def delivered(error: Any, _message: Any, letter: Letter = letter) -> None:
            if error is None:
                acknowledged.append(letter)
            else:
                failures.append(f"{origin_of(letter)}: {error}")

        try:
            producer.produce(letter["topic"], value, headers={HEADER: origin_of(letter)}, on_delivery=delivered)
        except KafkaException as error:
            failures.append(f"{origin_of(letter)}: {error}. Is it within the topic's size limit?")
    producer.flush(60)
    for letter in acknowledged:
        _note_sent(cursor, origin_of(letter))
        yield letter
    if len(acknowledged) < len(letters):
        reason = failures[0] if failures else "no acknowledgement within 60 s"
        raise ShopStreamsError(f"Replaying failed for {reason}. Is Kafka up? `shop-streams status` tells.")
