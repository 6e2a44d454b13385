"""Topics as others fill and change them: transactions, and a topic that is made again under a running stream."""

import json
import threading
from dataclasses import replace
from uuid import uuid4

import dagster as dg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from shop_streams.cli.status import topic_totals
from shop_streams.defs.sales.streams import INGEST
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.lake.table import Table
from shop_streams.spark import SparkConnect, open_session
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.factory import build_job
from shop_streams.streaming.lease import Leases
from shop_streams.streaming.sinks import LakeSink
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.start import start_query
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import Stack, wait_for

TIME = 1_577_865_600_000


def new_stream(stack: Stack) -> StreamSpec:
    """The ingest of sales, from a new topic to a table of its own."""
    assert isinstance(INGEST.sink, LakeSink)
    topic = Topic(f"others-{uuid4().hex}", "", partitions=1)
    create_topics(stack.settings, (topic,))
    table = INGEST.sink.table
    own = Table(f"tests/{topic.name}", table.columns, table.partition_by, "")
    return replace(
        INGEST,
        name=topic.name.replace("-", "_"),
        topic=topic,
        sink=replace(INGEST.sink, table=own),
        interval_seconds=lambda _settings: 1,
    )


def purchase(price: int) -> bytes:
    sale = {"event_type": "buy", "category": "c", "item_id": "i", "item_price": price, "uid": "u", "timestamp": TIME}
    return json.dumps(sale).encode()


def transaction(stack: Stack, topic: str, prices: list[int], *, commit: bool) -> None:
    producer = Producer({"bootstrap.servers": stack.settings.kafka, "transactional.id": uuid4().hex})
    producer.init_transactions(30)
    producer.begin_transaction()
    for price in prices:
        producer.produce(topic, purchase(price))
    producer.flush(30)
    (producer.commit_transaction if commit else producer.abort_transaction)(30)


def ingest(stack: Stack, spec: StreamSpec) -> None:
    query = start_query(spec, stack.settings, open_session(stack.settings), availableNow=True)
    while query.isActive:
        query.awaitTermination(1)
    assert query.exception() is None


def prices(stack: Stack, spec: StreamSpec) -> list[int]:
    assert spec.sink.table is not None
    return sorted(reader.scan(spec.sink.table.uri(stack.settings), ["item_price"])["item_price"].to_pylist())


def test_only_committed_purchases_count(stack: Stack) -> None:
    spec = new_stream(stack)
    transaction(stack, spec.topic.name, [20, 30, 70], commit=True)
    transaction(stack, spec.topic.name, [1_000_000] * 4, commit=False)
    transaction(stack, spec.topic.name, [100, 100], commit=True)
    ingest(stack, spec)
    assert prices(stack, spec) == [20, 30, 70, 100, 100]
    (account,) = accounts(spec, stack.settings)
    assert (account.high, account.rows, account.in_flight, account.exact) == (12, 5, 0, True)
    totals = topic_totals(spec, stack.settings, True)
    assert (totals["offsets"], totals["records"], totals["rows"]) == (12, 5, 5)
    out = f"metrics-{uuid4().hex}"
    stack.cli("aggregate", "--in-topic", spec.topic.name, "--out-topic", out, "--until-caught-up")
    (hour,) = [json.loads(record.value) for record in read_topic(stack.settings.kafka, out)]
    assert (hour["revenue"], hour["purchases"], hour["visitors"]) == (320, 5, 5)


def test_a_running_stream_whose_topic_is_made_again_ends_with_the_way_out(stack: Stack) -> None:
    spec = new_stream(stack)
    stack.produce(spec.topic.name, [purchase(1), purchase(2)])
    job, ended = build_job(spec), []

    def run() -> None:
        with dg.instance_for_test() as instance:
            resources = {"spark": SparkConnect(), "settings": stack.settings}
            ended.append(job.execute_in_process(resources=resources, instance=instance, raise_on_error=False))

    def failure() -> str:
        (result,) = ended
        (event,) = [event for event in result.all_events if event.is_step_failure]
        data = event.step_failure_data.user_failure_data
        return str(data and data.description)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    table = spec.sink.table
    assert table is not None
    wait_for("the table", lambda: reader.open_table(table.uri(stack.settings)))
    wait_for("the rows", lambda: prices(stack, spec) == [1, 2])
    client = AdminClient({"bootstrap.servers": str(stack.settings.kafka)})
    client.delete_topics([spec.topic.name])[spec.topic.name].result(30)
    wait_for("the topic to be gone", lambda: spec.topic.name not in client.list_topics(timeout=10).topics, 30)
    create_topics(stack.settings, (spec.topic,))
    stack.produce(spec.topic.name, [purchase(3)] * 5)
    thread.join(120)
    said = f"`shop-streams recover {spec.name}` shows how to continue"
    assert not thread.is_alive() and said in failure(), "the run has ended, and says why"
    problem = Leases(stack.settings.postgres).read()[spec.name].problem
    assert problem is not None and said in problem, "and so does status"
