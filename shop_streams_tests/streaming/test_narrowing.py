"""A record that no rule refuses and that its stream can't get past becomes a dead letter, and the stream goes on."""

import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.sales import transforms
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.defs.sales.streams import INGEST
from shop_streams.kafka import read_topic
from shop_streams.lake import log
from shop_streams.spark import open_session
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.checkpoint import planned_batch
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.managed import start_query
from shop_streams.streaming.narrowing import FAILURES_BEFORE, Narrowing, Span, culprits, without
from shop_streams.streaming.sinks import LakeSink, TopicSink
from shop_streams.streaming.spec import StreamContext, StreamSpec
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
    assert tries <= 1 + len(bad) * 2 * (math.ceil(math.log2(len(places))) + len(parts))
    left = {(partition, offset) for partition, first, end in without(whole, list(bad)) for offset in range(first, end)}
    assert left == set(places) - bad


def rows(judged: DataFrame) -> DataFrame:
    """The table's rows; a price of 13 divides by zero."""
    odd = F.col("item_price") / (F.col("item_price") - UNLUCKY)
    return transforms.rows(judged).withColumn("item_id", F.concat("item_id", odd.cast("string").substr(0, 0)))


def priced(records: DataFrame, context: StreamContext) -> DataFrame:
    """A record for each price; a price of 13 divides by zero."""
    judged = transforms.judge(records, context.settings.first_day.isoformat())
    price = F.col("event.item_price")
    value = (price / (price - UNLUCKY)).cast("string")
    return judged.select(F.col("offset").cast("string").alias("key"), value.alias("value"))


def a_stream(stack: Stack, kind: str) -> StreamSpec:
    name = f"narrowing-{uuid.uuid4().hex}"
    topic = Topic(name, "", partitions=1)
    create_topics(stack.settings, (topic, Topic(f"{name}-out", "")))
    table = replace(SHOP_EVENTS, path=f"tests/{name}")
    sink: Any = LakeSink(table, name, transforms.judge, rows) if kind == "lake" else TopicSink(f"{name}-out", priced)
    return replace(INGEST, name=name, domain=name, topic=topic, sink=sink)


@pytest.mark.parametrize("kind", ["lake", "topic"])
def test_a_record_that_fails_its_batch_is_left_out_after_some_failures(stack: Stack, kind: str) -> None:
    stream = a_stream(stack, kind)
    prices = [6, 7, UNLUCKY, 8, 9]
    stack.produce(stream.topic.name, [json.dumps(SALE | {"item_price": price}).encode() for price in prices])
    known, said = Narrowing(stack.settings.postgres), []
    spark = open_session(stack.settings)

    def run() -> BaseException | None:
        query = start_query(stream, stack.settings, spark, said.append, availableNow=True)
        while query.isActive:
            query.awaitTermination(1)
        return query.exception()

    for failures in range(1, FAILURES_BEFORE + 1):
        assert "DIVIDE_BY_ZERO" in str(run())
        assert said == []  # nothing is blamed before that
        batch = planned_batch(stream.checkpoint(stack.settings), stream.topic.name)
        assert batch is not None and known.count(stream.name, batch.batch_id) == failures
    assert run() is None
    assert any(f"{stream.topic.name}:0:2 fails" in line for line in said)
    assert known.poisoned(stream.name) == [(0, 2)]
    letters = log.scan(DEAD_LETTERS.uri(stack.settings), ["domain", "kafka_offset", "raw", "reason"]).to_pylist()
    (letter,) = [one for one in letters if one["domain"] == stream.name]
    assert letter["kafka_offset"] == 2 and json.loads(letter["raw"])["item_price"] == UNLUCKY
    assert "DIVIDE_BY_ZERO" in letter["reason"] and letter["reason"].startswith(f"poisoned in {stream.name}: ")
    if kind == "topic":
        sent = read_topic(stack.settings.kafka, f"{stream.name}-out")
        assert sorted(int(record.key) for record in sent) == [0, 1, 3, 4]
        return
    assert stream.sink.table is not None
    found = log.scan(stream.sink.table.uri(stack.settings), ["item_price"])["item_price"].to_pylist()
    assert sorted(found) == [6, 7, 8, 9]
    (account,) = accounts(stream, stack.settings)
    assert account.exact and account.in_flight == 0 and (account.rows, account.dead_letters) == (4, 1)
