"""Drafts of a replay: each letter's value before and after the fix, and the verdict of its domain's rules.

The stream's own rules validate the fixed values on Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import poisoned_elsewhere
from shop_streams.streaming.query import SparkGone, probe_spark
from shop_streams.streaming.records import RECORD_COLUMNS, RECORD_TYPES
from shop_streams.streaming.spec import StreamSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CHUNK = 500
CHUNK_BYTES = 16_000_000  # Spark Connect and Kafka's client hold a chunk in memory

Letter = dict[str, Any]
Fix = Callable[[bytes], bytes]
Validate = Callable[[str, Sequence[tuple[str, bytes | None]]], list[str | None]]
Item = TypeVar("Item")


class FixFailed(Exception):
    """A fix failed on a value; the text says why."""


class State(StrEnum):
    """The state of a letter in a replay."""

    READY = "would be sent"
    SENT = "sent"
    REFUSED = "would be refused"
    FIX_FAILED = "fix failed"
    ALREADY = "already replayed"
    NOT_TAKEN = "not taken by Kafka"


DONE = (State.READY, State.SENT, State.ALREADY)


def origin_of(letter: Letter) -> str:
    """The origin of a letter: topic:partition:offset."""
    return f"{letter['topic']}:{letter['kafka_partition']}:{letter['kafka_offset']}"


@dataclass(frozen=True)
class Draft:
    """A letter, and its value after the fix. `refused`: why the rules refuse this value. `failed`: why the fix failed."""

    letter: Letter
    before: bytes | None
    after: bytes | None = None
    refused: str | None = None
    failed: str | None = None

    @property
    def origin(self) -> str:
        """The origin of the letter: topic:partition:offset."""
        return origin_of(self.letter)

    def state(self, send_refused: bool = False) -> State:
        """What a replay would do with the letter."""
        if self.failed is not None:
            return State.FIX_FAILED
        return State.REFUSED if self.refused is not None and not send_refused else State.READY

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.failed is not None:
            return f"fix failed: {self.failed}"
        return f"refused: {self.refused}" if self.refused is not None else "good"


def make_drafts(
    letters: Sequence[Letter],
    fix: Fix,
    validate: Validate,
    firsts: Mapping[str, bytes | None] | None = None,
    lake_streams: Sequence[str] = (),
) -> Iterator[Draft]:
    """Fix and validate each letter. A fix that fails does not stop the others.

    `firsts` maps origins to the values to fix, instead of the letters' own values. `lake_streams` are the streams that fill a
    table: a record that only another stream failed on is already a row there.
    """
    for chunk in chunks(letters, lambda letter: len(letter["raw"] or b"")):
        drafts = [_fixed(letter, fix, firsts) for letter in chunk]
        for domain in {draft.letter["domain"] for draft in drafts if draft.failed is None}:
            asked = [i for i, draft in enumerate(drafts) if draft.failed is None and draft.letter["domain"] == domain]
            reasons = validate(domain, [(drafts[i].letter["topic"], drafts[i].after) for i in asked])
            for i, reason in zip(asked, reasons, strict=True):
                drafts[i] = replace(drafts[i], refused=reason or _row_already(drafts[i].letter, lake_streams))
        yield from drafts


def _row_already(letter: Letter, lake_streams: Sequence[str]) -> str | None:
    stream = poisoned_elsewhere(letter["reason"], lake_streams)
    if stream is None:
        return None
    return f"it is already a row of the lake, only {stream} left it out: sent again, it would count twice"


def _fixed(letter: Letter, fix: Fix, firsts: Mapping[str, bytes | None] | None) -> Draft:
    origin, before = origin_of(letter), letter["raw"]
    if firsts is not None:
        if origin not in firsts:
            return Draft(
                letter, before, failed="the first letter of this record no longer exists; use the letter's own value"
            )
        before = firsts[origin]
    try:
        return Draft(letter, before, after=None if before is None else fix(before))
    except FixFailed as error:
        return Draft(letter, before, failed=str(error))


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
    """A function (domain, values) -> reasons, None for a good value; `spark_of()` opens the session.

    The function raises ShopStreamsError if Spark does not answer, or the domain has no stream.
    """
    by_domain = {spec.domain: spec for spec in specs}

    def validate(domain: str, values: Sequence[tuple[str, bytes | None]]) -> list[str | None]:
        if domain not in by_domain:
            raise ShopStreamsError(
                f"No stream has the domain {domain!r}, so its letters can't be validated. Domains: {', '.join(by_domain)}."
            )
        try:
            probe_spark(settings)
            records = records_of(spark_of(), values, datetime.now(UTC))
            sink: Any = by_domain[domain].sink  # a sink with dead letters has `validated`
            rows = sink.validated(records, settings).select("offset", "reason").collect()
        except (PySparkException, SparkGone) as error:
            raise ShopStreamsError(
                f"Spark at {settings.spark} could not validate letters of {domain}: {str(error)[:300]}. None of them was sent. "
                "`shop-streams status` tells whether Spark is up."
            ) from error
        reasons = {row.offset: row.reason for row in rows}
        return [reasons[number] for number in range(len(values))]

    return validate


def records_of(spark: SparkSession, values: Sequence[tuple[str, bytes | None]], now: datetime) -> DataFrame:
    """(topic, value) pairs as Kafka records of the time `now`, with all `RECORD_TYPES`; the offset is the pair's number."""
    import pyarrow as pa

    columns = [
        pa.array([topic for topic, _ in values], pa.string()),
        pa.array([0] * len(values), pa.int32()),
        pa.array(range(len(values)), pa.int64()),
        pa.array([now] * len(values), pa.timestamp("us", "UTC")),
        pa.array([value for _, value in values], pa.binary()),
    ]
    records = spark.createDataFrame(pa.table(columns, names=list(RECORD_COLUMNS)))
    # A dead letter has neither key nor headers.
    more = {name: F.lit(None).cast(kind) for name, kind in RECORD_TYPES.items() if name not in RECORD_COLUMNS}
    return records.withColumns(more)
