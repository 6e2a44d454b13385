"""Drafts of a replay: each letter's value before and after the fix, and the verdict of its domain's rules.

The stream's own rules validate the fixed values on Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pyarrow as pa
from pyspark.errors import PySparkException

from shop_streams.encoding import JSON, Encoding
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import HEADERS, is_of_file, poisoned_elsewhere
from shop_streams.streaming.query import SparkGone, probe_spark
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import REPLAY_OF, VIA_COLLECTOR

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CHUNK = 500
CHUNK_BYTES = 16_000_000  # Spark Connect and Kafka's client hold a chunk in memory

Letter = dict[str, Any]
Fix = Callable[[bytes], bytes]
Item = TypeVar("Item")


class Attempt(NamedTuple):
    """A record as a replay would send it, to be validated. `headers` are {key, value}, as in a letter."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: list[dict[str, Any]] | None = None


Validate = Callable[[str, Sequence[Attempt]], list[str | None]]
"""(domain, records) -> why its rules refuse each; None for a good one."""


class FixFailed(Exception):
    """A fix failed on a value; the text says why."""


class State(StrEnum):
    """The state of a letter in a replay."""

    READY = "would be sent"
    SENT = "sent"
    REFUSED = "would be refused"
    FIX_FAILED = "fix failed"
    ALREADY = "already replayed"
    IN_FILE = "to be mended in their files"
    NOT_TAKEN = "not taken by Kafka"


DONE = (State.READY, State.SENT, State.ALREADY)


def origin_of(letter: Letter) -> str:
    """The origin of a letter: topic:partition:offset, of a file's row file:line, of a file that can't be read its name."""
    if is_of_file(letter):
        return letter["file"] if letter["line"] is None else f"{letter['file']}:{letter['line']}"
    return f"{letter['topic']}:{letter['kafka_partition']}:{letter['kafka_offset']}"


@dataclass(frozen=True)
class Draft:
    """A letter, and its value after the fix. `refused`: why the rules refuse this value. `failed`: why the fix failed.

    `encoding` is that of the letter's topic.
    """

    letter: Letter
    before: bytes | None
    after: bytes | None = None
    refused: str | None = None
    failed: str | None = None
    encoding: Encoding = JSON

    @property
    def shown(self) -> tuple[bytes | None, bytes | None]:
        """Both values for a person: as text, if they can be read."""
        return self.encoding.readable(self.before), self.encoding.readable(self.after)

    @property
    def origin(self) -> str:
        """The origin of the letter: topic:partition:offset."""
        return origin_of(self.letter)

    @property
    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """The replayed record's headers: the letter's own, but for those that tell how its record got into the topic."""
        own = [(one["key"], one["value"]) for one in self.letter["headers"] or ()]
        return [one for one in own if one[0] not in (VIA_COLLECTOR, REPLAY_OF)] + [(REPLAY_OF, self.origin.encode())]

    def state(self, send_refused: bool = False) -> State:
        """What a replay would do with the letter."""
        if is_of_file(self.letter):
            return State.IN_FILE
        if self.failed is not None:
            return State.FIX_FAILED
        return State.REFUSED if self.refused is not None and not send_refused else State.READY

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if is_of_file(self.letter):
            return f"mend it in {self.letter['file']}: the files of its date are then loaded again"
        if self.failed is not None:
            return f"fix failed: {self.failed}"
        return f"refused: {self.refused}" if self.refused is not None else "good"


def make_drafts(
    letters: Sequence[Letter],
    fix: Fix,
    validate: Validate,
    firsts: Mapping[str, bytes | None] | None = None,
    lake_streams: Sequence[str] = (),
    encodings: Mapping[str, Encoding] = MappingProxyType({}),
) -> Iterator[Draft]:
    """Fix and validate each letter. A fix that fails does not stop the others. A file's row is not fixed here.

    `firsts` maps origins to the values to fix, instead of the letters' own values. `lake_streams` are the streams that fill a
    table: a record that only another stream failed on is already a row there. `encodings` are those of the topics, by name.
    """
    for chunk in chunks(letters, lambda letter: len(letter["raw"] or b"")):
        drafts = [_fixed(letter, fix, firsts, encodings.get(letter["topic"], JSON)) for letter in chunk]
        sound = [i for i, draft in enumerate(drafts) if draft.failed is None and not is_of_file(draft.letter)]
        for domain in {drafts[i].letter["domain"] for i in sound}:
            asked = [i for i in sound if drafts[i].letter["domain"] == domain]
            reasons = validate(domain, [_attempt(drafts[i]) for i in asked])
            for i, reason in zip(asked, reasons, strict=True):
                drafts[i] = replace(drafts[i], refused=reason or _row_already(drafts[i].letter, lake_streams))
        yield from drafts


def _attempt(draft: Draft) -> Attempt:
    letter = draft.letter
    return Attempt(letter["topic"], draft.after, letter["key"], letter["headers"])


def _row_already(letter: Letter, lake_streams: Sequence[str]) -> str | None:
    stream = poisoned_elsewhere(letter["reason"], lake_streams)
    if stream is None:
        return None
    return f"it is already a row of the lake, only {stream} left it out: sent again, it would count twice"


def _fixed(letter: Letter, fix: Fix, firsts: Mapping[str, bytes | None] | None, encoding: Encoding) -> Draft:
    origin, before = origin_of(letter), letter["raw"]
    if is_of_file(letter):
        return Draft(letter, before)
    if firsts is not None:
        if origin not in firsts:
            why = "the first letter of this record no longer exists; use the letter's own value"
            return Draft(letter, before, failed=why, encoding=encoding)
        before = firsts[origin]
    try:
        after = None if before is None else fixed_as_text(before, fix, encoding)
        return Draft(letter, before, after, encoding=encoding)
    except FixFailed as error:
        return Draft(letter, before, failed=str(error), encoding=encoding)


def fixed_as_text(value: bytes, fix: Fix, encoding: Encoding) -> bytes:
    """The value after the fix, which gets its text and whose answer is encoded again.

    A value that can't be read is fixed as it is.

    Raises:
        FixFailed: the fix failed, or its answer is no record of this encoding.
    """
    try:
        text = encoding.to_text(value)
    except ValueError:
        return fix(value)
    answer = fix(text)
    try:
        return encoding.of_text(answer)
    except ValueError as error:
        raise FixFailed(f"the fixed text is no {encoding.name} record: {error}") from error


def chunks(items: Sequence[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Split into lists of at most `CHUNK` items and about `CHUNK_BYTES`."""
    chunk: list[Item] = []
    total = 0
    for item in items:
        if chunk and (len(chunk) == CHUNK or total + size(item) > CHUNK_BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size(item)
    if chunk:
        yield chunk


def validate_with(specs: Sequence[StreamSpec], settings: Settings, spark_of: Callable[[], SparkSession]) -> Validate:
    """A function that validates with the streams' own rules; `spark_of()` opens the session.

    The function raises ShopStreamsError if Spark does not answer, or the domain has no stream.
    """
    by_domain = {spec.domain: spec for spec in specs}

    def validate(domain: str, attempts: Sequence[Attempt]) -> list[str | None]:
        if domain not in by_domain:
            raise ShopStreamsError(
                f"No stream has the domain {domain!r}, so its letters can't be validated. Domains: {', '.join(by_domain)}."
            )
        try:
            probe_spark(settings)
            records = records_of(spark_of(), attempts, datetime.now(UTC))
            sink: Any = by_domain[domain].sink  # a sink with dead letters has `validated`
            rows = sink.validated(records, settings).select("offset", "reason").collect()
        except (PySparkException, SparkGone) as error:
            raise ShopStreamsError(
                f"Spark at {settings.spark} could not validate letters of {domain}: {str(error)[:300]}. None of them was sent. "
                "`shop-streams status` tells whether Spark is up."
            ) from error
        reasons = {row.offset: row.reason for row in rows}
        return [reasons[number] for number in range(len(attempts))]

    return validate


def records_of(spark: SparkSession, attempts: Sequence[Attempt], now: datetime) -> DataFrame:
    """The attempts as Kafka records of the time `now`, with all `RECORD_TYPES`; the offset is the attempt's number."""
    columns = {
        "topic": pa.array([one.topic for one in attempts], pa.string()),
        "partition": pa.array([0] * len(attempts), pa.int32()),
        "offset": pa.array(range(len(attempts)), pa.int64()),
        "timestamp": pa.array([now] * len(attempts), pa.timestamp("us", "UTC")),
        "value": pa.array([one.value for one in attempts], pa.binary()),
        "key": pa.array([one.key for one in attempts], pa.binary()),
        "headers": pa.array([one.headers for one in attempts], HEADERS),
    }
    return spark.createDataFrame(pa.table(columns))
