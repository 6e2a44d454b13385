"""A stream that asks for them gets each record's key and headers, in the running query and when a batch is read again."""

import uuid
from dataclasses import replace
from typing import Any

from confluent_kafka import Producer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.kafka import read_topic
from shop_streams.spark import open_session
from shop_streams.streaming.records import RECORD_COLUMNS, read_offsets
from shop_streams.streaming.spec import topic_stream
from shop_streams.streaming.start import start_query
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import Stack

COLUMNS = (*RECORD_COLUMNS, "key", "headers")


def copied(records: DataFrame, _context: Any) -> DataFrame:
    return records.select("key", F.expr("concat(headers[0].key, '=', cast(headers[0].value as string))").alias("value"))


def test_key_and_headers_arrive(stack: Stack) -> None:
    name = f"columns-{uuid.uuid4().hex}"
    topic, out = Topic(name, "", partitions=1), Topic(f"{name}-out", "")
    create_topics(stack.settings, (topic, out))
    producer = Producer({"bootstrap.servers": stack.settings.kafka})
    producer.produce(name, b"value", key=b"k", headers={"event_id": b"7"})
    assert producer.flush(30) == 0
    spec = topic_stream(name=name, domain="tests", topic=topic, output=out, transform=copied, record_columns=COLUMNS)
    spark = open_session(stack.settings)
    query = start_query(replace(spec), stack.settings, spark, availableNow=True)
    assert query.awaitTermination(120) is not False and query.exception() is None
    assert [(one.key, one.value) for one in read_topic(stack.settings.kafka, out.name)] == [(b"k", b"event_id=7")]
    (row,) = read_offsets(spark, stack.settings.kafka, name, [(0, 0, 1)], COLUMNS).collect()
    assert (bytes(row.key), row.headers[0].key) == (b"k", "event_id")
