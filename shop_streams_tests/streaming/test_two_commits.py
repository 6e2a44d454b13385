"""A batch whose rows are committed, and whose letters are not, is repeated: each record is in exactly one place.

The session is on a real Spark server, because only there a commit that Delta skips leaves an observation without numbers.
"""

import json
import uuid
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from shop_streams.defs.app_events import streams as app_events
from shop_streams.defs.clickstream import streams as clickstream
from shop_streams.defs.sales import streams as sales
from shop_streams.lake import write
from shop_streams.settings import Settings
from shop_streams.spark import open_session
from shop_streams.streaming import sinks
from shop_streams.streaming.batch_letters import BatchLetters
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.forgotten import record_origins
from shop_streams.streaming.sinks import BatchWriter, LakeSink
from shop_streams.streaming.spec import StreamContext, StreamSpec
from shop_streams.streaming.start import begin_query
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.defs.app_events.events import EVENT
from shop_streams_tests.defs.clickstream.clicks import VIEW, written
from shop_streams_tests.defs.sales.events import SHOP
from shop_streams_tests.harness import Headers, Stack, records
from shop_streams_tests.streaming.two_commits import (
    RECORDS,
    Killed,
    KilledLetters,
    check_repeats,
    first_sales,
    killed,
    letters_in,
    odd_sales,
    refusing,
    rows_in,
)

STREAMS = {
    "app_events": (app_events.INGEST, json.dumps(EVENT).encode()),
    "sales": (sales.INGEST, json.dumps(SHOP).encode()),
    "clickstream": (clickstream.INGEST, written(VIEW)),
}
ALL = range(RECORDS)


class Stream:
    """The writer of a stream's batches, on a lake of its own."""

    def __init__(self, stack: Stack, name: str, lake: Path) -> None:
        spec, value = STREAMS[name]
        assert isinstance(spec.sink, LakeSink)
        self.settings = stack.settings.model_copy(update={"lake_uri": str(lake)})
        self.sink, self.spark, self.topic = spec.sink, open_session(stack.settings), spec.topic.name
        context = StreamContext(self.spark, self.settings, spec.name, self.topic, spec.checkpoint(self.settings))
        self.sink.prepare(context)
        self.letters = BatchLetters.of(spec.domain, self.sink.table, context)
        keyed = RECORDS if "key" in spec.record_columns else 0
        nothing: list[Headers | None] = [[]] * keyed
        self.batch = records(self.spark, [value] * RECORDS, self.topic, [b"party"] * keyed, nothing)

    def write(self, refused: Collection[int], letters: BatchLetters, batch: DataFrame, batch_id: int) -> None:
        def validate(some: DataFrame, first_day: str) -> DataFrame:
            return refusing(self.sink.validate(some, first_day, **self.sink.parameters(self.settings)), refused)

        table, first_day = self.sink.table, self.settings.first_day.isoformat()
        writer = BatchWriter(validate, self.sink.project, first_day, table.partition_by, table.identity, letters)
        writer.write(batch, batch_id)


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("sales", "rows"),
        ("sales", "letters"),
        *[pytest.param(name, "rows", marks=pytest.mark.long) for name in STREAMS if name != "sales"],
    ],
)
def test_a_repeated_batch_has_each_record_in_one_place(stack: Stack, tmp_path: Path, name: str, after: str) -> None:
    stream = Stream(stack, name, tmp_path)
    check_repeats(stream.write, stream.letters, stream.batch, after)


def test_the_loser_of_a_race_asks_the_table(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query of a killed run commits the rows while the next one, with other rules, has already counted its own."""
    stream, append, lost = Stream(stack, "sales", tmp_path), write._append, list[int]()

    def lose(rows: DataFrame, *rest: Any) -> None:
        if lost:
            append(rows, *rest)
            return
        lost.append(1)
        sinks.write_nowhere(rows)
        with pytest.raises(Killed):
            stream.write({1}, killed(stream.letters), stream.batch, 0)
        raise PySparkException("io.delta.exceptions.ConcurrentTransactionException")

    monkeypatch.setattr(write, "_append", lose)
    stream.write({2}, stream.letters, stream.batch, 0)
    assert (rows_in(stream.letters, ALL), letters_in(stream.letters, ALL)) == ([0, 2, 3], [1])


@pytest.mark.parametrize(("identity", "letters"), [("this/topic", [1]), ("another/topic", [0, 1])])
def test_a_row_that_was_removed_with_a_person_becomes_no_letter(
    stack: Stack, tmp_path: Path, identity: str, letters: list[int]
) -> None:
    stream = Stream(stack, "sales", tmp_path)
    mine = replace(stream.letters, topic_identity="this/topic")
    with pytest.raises(Killed):
        stream.write({1}, killed(mine), stream.batch, 0)
    removed = pa.table({"kafka_partition": [0], "kafka_offset": [0]})
    record_origins(stream.settings, stream.topic, identity, removed)
    DeltaTable(mine.rows_uri).delete("kafka_offset = 0")
    stream.write({1}, mine, stream.batch, 0)
    assert (rows_in(mine, ALL), letters_in(mine, ALL)) == ([2, 3], letters)


def run(spec: StreamSpec, settings: Settings) -> str:
    """Run the stream until it has read its topic; returns its error, or ""."""
    context = StreamContext(open_session(settings), settings, spec.name, spec.topic.name, spec.checkpoint(settings))
    spec.sink.prepare(context)
    query = begin_query(spec, context, availableNow=True)
    try:
        while not query.awaitTermination(10):
            pass
    except PySparkException as error:
        return str(error)
    return ""


def test_a_stream_that_is_killed_between_the_commits_continues_with_other_rules(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"two-commits-{uuid.uuid4().hex}"
    settings = stack.settings.model_copy(update={"lake_uri": str(tmp_path)})
    topic = Topic(name, "", partitions=1)
    create_topics(settings, (topic,))
    stack.produce(name, [json.dumps(SHOP).encode()] * RECORDS)
    table = sales.INGEST.sink.table
    assert table is not None
    before, now = (
        replace(sales.INGEST, name=name, topic=topic, sink=LakeSink(table, "sales", rules, sales.INGEST.sink.project))  # type: ignore[attr-defined]
        for rules in (odd_sales, first_sales)
    )
    with monkeypatch.context() as patch:
        patch.setattr(sinks, "BatchLetters", KilledLetters)
        assert "Killed" in run(before, settings)
    assert run(now, settings) == ""
    context = StreamContext(open_session(settings), settings, name, name, now.checkpoint(settings))
    letters = BatchLetters.of("sales", table, context)
    assert (rows_in(letters, ALL), letters_in(letters, ALL)) == ([0, 2], [1, 3])
    assert letters.uri == DEAD_LETTERS.uri(settings)
