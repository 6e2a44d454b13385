"""A record that no rule refuses and that its stream can't get past becomes a dead letter, and the stream goes on."""

import json
import math
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.sales import transforms
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.defs.sales.streams import INGEST
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.settings import Settings
from shop_streams.spark import open_session
from shop_streams.streaming import narrowing
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.batch_failures import BatchFailures
from shop_streams.streaming.checkpoint import PlannedBatch, planned_batch
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.narrowing import FAILURES_BEFORE, NotOneRecord, Span, culprits, without
from shop_streams.streaming.sinks import LakeSink, TopicSink
from shop_streams.streaming.spec import StreamContext, StreamSpec
from shop_streams.streaming.start import start_query
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import Stack

SALE = {"event_type": "buy", "category": "c", "item_id": "i", "item_price": 6, "uid": None, "timestamp": 1577865600000}
UNLUCKY = 13

spans = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), min_size=1, max_size=4, unique_by=lambda one: one[0])


@given(spans, st.data())
def test_exactly_the_records_that_fail_are_found(parts: list[tuple[int, int]], data: st.DataObject) -> None:
    whole = [Span(partition, 0, size) for partition, size in parts]
    places = [(partition, offset) for partition, _, end in whole for offset in range(end)]
    bad = data.draw(st.sets(st.sampled_from(places), max_size=5))
    tries = 0

    def failure(some: Sequence[Span]) -> str | None:
        nonlocal tries
        tries += 1
        return "it fails" if any((n, offset) in bad for n, first, end in some for offset in range(first, end)) else None

    assert {(partition, offset) for partition, offset, _ in culprits(whole, failure)} == bad
    assert tries <= 1 + len(bad) * (1 + 2 * (math.ceil(math.log2(len(places))) + len(parts)))
    left = {(partition, offset) for partition, first, end in without(whole, list(bad)) for offset in range(first, end)}
    assert left == set(places) - bad


def test_an_error_that_does_not_repeat_blames_no_record() -> None:
    answers = iter(["once", "once"])
    assert list(culprits([Span(0, 0, 2)], lambda _some: next(answers, None))) == []


class Tried:
    """`narrow` without Spark, Kafka and PostgreSQL: a batch of `size` records, tried by `attempt`; what it has noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int, attempt: Callable[[Sequence[Span]], None]) -> None:
        self.recorded: list[tuple[int, int, str]] = []
        self.letters: list[tuple[int, int, str]] = []
        self.said: list[str] = []
        monkeypatch.setattr(narrowing, "BatchFailures", lambda _dsn: self)
        monkeypatch.setattr(narrowing, "due", lambda *_: PlannedBatch(7, {0: 0}, {0: size}))
        monkeypatch.setattr(narrowing, "read_offsets", lambda _spark, _servers, _topic, spans, _columns: spans)
        monkeypatch.setattr(narrowing, "_write_letters", lambda _spec, _settings, found: self.letters.extend(found))
        sink: Any = SimpleNamespace(attempt=lambda spans, _context: attempt(spans))
        self.spec = replace(INGEST, sink=sink)

    def poisoned(self, _stream: str) -> list[tuple[int, int]]:
        return []

    def record_poisoned(self, _stream: str, found: Sequence[tuple[int, int, str]]) -> None:
        self.recorded.extend(found)

    def narrow(self) -> int:
        context: Any = SimpleNamespace(settings=Settings(), spark=None, checkpoint="")
        return narrowing.narrow(self.spec, context, {}, self.said.append)


def throwing(error: Exception, *offsets: int) -> Callable[[Sequence[Span]], None]:
    """An attempt that fails where one of these offsets is in it."""

    def attempt(spans: Sequence[Span]) -> None:
        assert spans, "nothing is read of no offsets"
        if any(first <= offset < end for _, first, end in spans for offset in offsets):
            raise error

    return attempt


DIVIDED = PySparkException(
    "[DIVIDE_BY_ZERO] Division by zero.\n\nJVM stacktrace:\norg.apache.X: Timeout\n\tat a.b(C.java:1)"
)


@pytest.mark.parametrize(("size", "bad"), [(1, [0]), (2, [0, 1]), (5, [3]), (90, [0, 89])])
def test_a_batch_continues_without_its_failing_records_even_if_all_fail(
    monkeypatch: pytest.MonkeyPatch, size: int, bad: list[int]
) -> None:
    tried = Tried(monkeypatch, size, throwing(DIVIDED, *bad))
    assert tried.narrow() == len(bad)
    assert [offset for _, offset, _ in tried.recorded] == bad and tried.letters == tried.recorded
    assert {reason for _, _, reason in tried.recorded} == {"PySparkException: [DIVIDE_BY_ZERO] Division by zero."}


def test_an_error_of_any_kind_may_blame_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried(monkeypatch, 5, throwing(OverflowError("date value out of range"), 3))
    assert tried.narrow() == 1 and [offset for _, offset, _ in tried.recorded] == [3]


OURS = [
    psycopg2.errors.InsufficientPrivilege("subscribers_restaurants"), psycopg2.errors.AdminShutdown("x"),
    psycopg2.errors.QueryCanceled("due to statement timeout"), psycopg2.errors.UndefinedColumn("restaurant_id"),
    psycopg2.errors.DeadlockDetected("x"), psycopg2.InterfaceError("closed"), PermissionError("x"), BrokenPipeError("x"),
    ShopStreamsError("there is no table"),
]  # fmt: skip


@pytest.mark.parametrize("error", OURS, ids=repr)
def test_an_error_of_the_database_or_the_machine_makes_no_dead_letter(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tried = Tried(monkeypatch, 5, throwing(error, *range(5)))
    with pytest.raises(type(error)):
        tried.narrow()
    assert tried.recorded == tried.letters == []


@pytest.mark.parametrize("error", [psycopg2.errors.CheckViolation("odd"), psycopg2.errors.NumericValueOutOfRange("x")])
def test_an_error_about_a_value_blames_its_record(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    tried = Tried(monkeypatch, 5, throwing(error, 2))
    assert tried.narrow() == 1 and [offset for _, offset, _ in tried.recorded] == [2]


AWAY = [
    "org.apache.kafka.common.errors.TimeoutException: 60 s",
    "java.lang.OutOfMemoryError: heap",
    "UNAVAILABLE: no server",
    "[INVALID_HANDLE.SESSION_NOT_FOUND] The handle is invalid.",
    "SESSION_NOT_FOUND",
]


@pytest.mark.parametrize("text", AWAY)
def test_an_error_of_the_environment_blames_no_record(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    tried = Tried(monkeypatch, 1000, throwing(PySparkException(text), *range(1000)))
    with pytest.raises(PySparkException):
        tried.narrow()
    assert tried.recorded == tried.letters == []


def test_when_everything_fails_it_is_the_code_and_no_record_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried(monkeypatch, 1000, throwing(DIVIDED, *range(1000)))
    with pytest.raises(NotOneRecord, match="Every part of batch 7 fails"):
        tried.narrow()
    assert tried.recorded == tried.letters == []


def rows(validated: DataFrame) -> DataFrame:
    """The table's rows; a price of 13 divides by zero."""
    odd = F.col("item_price") / (F.col("item_price") - UNLUCKY)
    return transforms.project(validated).withColumn("item_id", F.concat("item_id", odd.cast("string").substr(0, 0)))


def priced(records: DataFrame, context: StreamContext) -> DataFrame:
    """A record for each price; a price of 13 divides by zero."""
    validated = transforms.validate(records, context.settings.first_day.isoformat())
    price = F.col("event.item_price")
    value = (price / (price - UNLUCKY)).cast("string")
    return validated.select(F.col("offset").cast("string").alias("key"), value.alias("value"))


def a_stream(stack: Stack, kind: str) -> StreamSpec:
    name = f"narrowing-{uuid.uuid4().hex}"
    topic = Topic(name, "", partitions=1)
    create_topics(stack.settings, (topic, Topic(f"{name}-out", "")))
    table = replace(SHOP_EVENTS, path=f"tests/{name}")
    sink: Any = (
        LakeSink(table, name, transforms.validate, rows)
        if kind == "lake"
        else TopicSink(Topic(f"{name}-out", ""), priced)
    )
    return replace(INGEST, name=name, domain=name, topic=topic, sink=sink)


@pytest.mark.parametrize("kind", ["lake", "topic"])
def test_a_record_that_fails_its_batch_is_left_out_after_some_failures(stack: Stack, kind: str) -> None:
    stream = a_stream(stack, kind)
    prices = [6, 7, UNLUCKY, 8, 9]
    stack.produce(stream.topic.name, [json.dumps(SALE | {"item_price": price}).encode() for price in prices])
    known, said = BatchFailures(stack.settings.postgres), list[str]()
    spark = open_session(stack.settings)

    def run() -> BaseException | None:
        query = start_query(stream, stack.settings, spark, said.append, availableNow=True)
        with suppress(PySparkException):  # of a query that failed; it has it still
            query.awaitTermination(120)
        assert not query.isActive
        return query.exception()

    for failures in range(1, FAILURES_BEFORE + 1):
        assert "DIVIDE_BY_ZERO" in str(run())
        assert said == []  # nothing is blamed before that
        batch = planned_batch(stream.checkpoint(stack.settings), stream.topic.name)
        assert batch is not None and known.count(stream.name, batch.batch_id) == failures
    assert run() is None
    assert any(f"{stream.topic.name}:0:2 fails" in line for line in said)
    assert known.poisoned(stream.name) == [(0, 2)]
    letters = reader.scan(DEAD_LETTERS.uri(stack.settings), ["domain", "kafka_offset", "raw", "reason"]).to_pylist()
    (letter,) = [one for one in letters if one["domain"] == stream.name]
    assert letter["kafka_offset"] == 2 and json.loads(letter["raw"])["item_price"] == UNLUCKY
    assert "DIVIDE_BY_ZERO" in letter["reason"] and letter["reason"].startswith(f"poisoned in {stream.name}: ")
    if kind == "topic":
        sent = read_topic(stack.settings.kafka, f"{stream.name}-out")
        assert {int(record.key) for record in sent} == {0, 1, 3, 4}  # some more than once, by the batches that failed
        return
    assert stream.sink.table is not None
    found = reader.scan(stream.sink.table.uri(stack.settings), ["item_price"])["item_price"].to_pylist()
    assert sorted(found) == [6, 7, 8, 9]
    (account,) = accounts(stream, stack.settings)
    assert account.exact and account.in_flight == 0 and (account.rows, account.dead_letters) == (4, 1)


def test_a_new_checkpoint_leaves_out_nothing_of_the_old_one(stack: Stack) -> None:
    """Its offsets may be another topic's."""
    stream = a_stream(stack, "lake")
    known = BatchFailures(stack.settings.postgres)
    known.record_poisoned(stream.name, [(0, 1, "of the topic that was there before")])
    stack.produce(stream.topic.name, [json.dumps(SALE | {"item_price": price}).encode() for price in (1, 2, 3)])
    query = start_query(stream, stack.settings, open_session(stack.settings), availableNow=True)
    assert query.awaitTermination(120) and query.exception() is None
    assert stream.sink.table is not None
    found = reader.scan(stream.sink.table.uri(stack.settings), ["item_price"])["item_price"].to_pylist()
    assert sorted(found) == [1, 2, 3] and known.poisoned(stream.name) == []
