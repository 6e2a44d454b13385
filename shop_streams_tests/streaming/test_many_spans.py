"""Hundreds of partitions, and of offset ranges in one of them: a plan of Spark Connect has limits that Spark alone lacks."""

import uuid
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from shop_streams.defs.sales.rebuild import before
from shop_streams.spark import open_session
from shop_streams.streaming.batch_letters import BatchLetters
from shop_streams.streaming.narrowing import leave_out
from shop_streams.streaming.records import read_offsets
from shop_streams.streaming.recover import MOST_PLACES
from shop_streams.streaming.spans import as_sql
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import Stack

MANY = 700
PLACED = "kafka_partition int, kafka_offset bigint"


@pytest.fixture
def session(stack: Stack) -> SparkSession:
    """Of the stack's Spark Connect, as runs have it."""
    return open_session(stack.settings)


@pytest.fixture(scope="module")
def topic(stack: Stack) -> str:
    """One partition with `2 * MANY` records, which are their offsets."""
    name = f"spans_{uuid.uuid4().hex[:8]}"
    create_topics(stack.settings, [Topic(name, "", partitions=1)])
    stack.produce(name, [str(number).encode() for number in range(2 * MANY)])
    return name


def test_records_of_many_spans_are_read_and_left_out(stack: Stack, session: SparkSession, topic: str) -> None:
    even = [(0, offset, offset + 1) for offset in range(0, 2 * MANY, 2)]
    found = read_offsets(session, stack.settings.kafka, topic, even).collect()
    assert sorted(row.offset for row in found) == list(range(0, 2 * MANY, 2))
    assert all(bytes(row.value) == str(row.offset).encode() for row in found)

    everything = read_offsets(session, stack.settings.kafka, topic, [(0, 0, 2 * MANY)])
    spans = {0: [(first, first + 3) for first in range(0, 2 * MANY, 4)]}
    # As many places as a recovery allows; the topic does not reach most of them.
    places = [(0, 3), (0, 2 * MANY - 1), (1, 7), *((0, 5000 + 2 * number) for number in range(MOST_PLACES))]
    rest = leave_out(everything, places, spans)
    assert sorted(row.offset for row in rest.collect()) == list(range(7, 2 * MANY - 1, 4))


def test_a_batch_of_many_partitions_is_compared_with_its_rows(session: SparkSession, tmp_path: Path) -> None:
    """Offsets 5 to 9 of each partition are a batch; those before 8 are rows."""
    rows = [(partition, offset) for partition in range(MANY) for offset in range(8)]
    session.createDataFrame(rows, PLACED).coalesce(1).write.format("delta").save(str(tmp_path / "rows"))
    records = session.createDataFrame(
        [("t", partition, offset) for partition in range(MANY) for offset in range(5, 10)],
        "topic string, partition int, offset bigint",
    )
    letters = BatchLetters("tests", "", "w", str(tmp_path / "rows"), str(tmp_path / "forgotten"), None)
    left = letters._without_row(records).collect()
    assert sorted((row.partition, row.offset) for row in left) == [(p, o) for p in range(MANY) for o in (8, 9)]


def test_rows_before_the_start_of_many_partitions(session: SparkSession) -> None:
    rows = session.createDataFrame([(p, o) for p in range(-1, MANY + 1) for o in (2, 3)], PLACED)
    start = dict.fromkeys(range(MANY), 3) | {5: 0}
    kept = sorted((row.kafka_partition, row.kafka_offset) for row in before(rows, start, 0).collect())
    assert kept == [(-1, 2), (-1, 3), *((p, 2) for p in range(MANY) if p != 5)]


Spans = dict[int, list[tuple[int, int]]]


@settings(deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 3),
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)).map(lambda one: (one[0], sum(one)))),
    )
)
def test_the_condition_holds_for_the_places_of_the_spans(spans: Spans) -> None:
    """As DuckDB reads it. An empty span has no place."""
    places = "(select p.range as partition, o.range as offset_ from range(4) p, range(20) o)"
    query = f"select partition, offset_ from {places} where {as_sql(spans, offset='offset_')}"
    found = duckdb.connect().execute(query).fetchall()
    wanted = {(number, offset) for number, some in spans.items() for first, end in some for offset in range(first, end)}
    assert set(found) == wanted
