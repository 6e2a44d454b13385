"""Another topic or cluster under the same name, on brokers alone: the checkpoint and the accounts refuse it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException, Producer, Uuid
from confluent_kafka.admin import AdminClient

from shop_streams.cluster import Cluster
from shop_streams.defs.sales.streams import INGEST
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import offset_ranges, read_topic
from shop_streams.settings import Settings
from shop_streams.streaming import identity
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.checkpoint import PlannedBatch, committed_offsets, metadata_without_spark, planned_batch
from shop_streams.streaming.identity import (
    TOPIC_IDENTITY,
    TopicChanged,
    require_not_ahead,
    require_unchanged,
    topic_identity,
    way_out,
)
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import Topic, copies, create_topics, topic_settings
from shop_streams_tests.broker import running_broker
from shop_streams_tests.harness import wait_for


@dataclass(frozen=True)
class Notes:
    """A checkpoint's notes without Spark, in the files that Spark would write."""

    folder: str

    def find(self, name: str) -> str | None:
        path = Path(self.folder, "notes", name, "part-00000.txt")
        return path.read_text().strip() if path.exists() else None

    def get(self, name: str, first: Any) -> str:
        path = Path(self.folder, "notes", name, "part-00000.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(first() + "\n")
        return path.read_text().strip()


def stream(settings: Settings) -> StreamSpec:
    topic = Topic(f"identity-{uuid4().hex}", "", partitions=1)
    create_topics(settings, (topic,))
    return replace(INGEST, name=topic.name, topic=topic)


def start(settings: Settings, spec: StreamSpec) -> None:
    folder, topic = spec.checkpoint(settings), spec.topic.name
    require_unchanged(Notes(folder), settings.kafka, topic, committed_offsets(folder, topic), way_out("s"))  # type: ignore[arg-type]


def send(settings: Settings, spec: StreamSpec, count: int) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka})
    for _ in range(count):
        producer.produce(spec.topic.name, b"{}")
    assert producer.flush(30) == 0


def commit(settings: Settings, spec: StreamSpec, offset: int) -> None:
    """What Spark leaves in a checkpoint after its first batch."""
    for name, text in (
        ("offsets", f'v1\n{{"batchWatermarkMs":0}}\n{json.dumps({spec.topic.name: {"0": offset}})}'),
        ("commits", 'v1\n{"nextBatchWatermarkMs":0}'),
    ):
        path = Path(spec.checkpoint(settings), name, "0")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def make_again(settings: Settings, spec: StreamSpec) -> None:
    client = AdminClient({"bootstrap.servers": str(settings.kafka)})
    client.delete_topics([spec.topic.name])[spec.topic.name].result(30)
    wait_for("the topic to be gone", lambda: topic_identity(settings.kafka, spec.topic.name) is None, 30)
    with pytest.raises(KafkaException):  # no topic is not a topic without records, whose lag is 0
        offset_ranges(settings.kafka, spec.topic.name)
    create_topics(settings, (spec.topic,))


def test_a_checkpoint_of_an_earlier_version_is_pinned_and_the_accounts_refuse_another_topic(kafka: Settings) -> None:
    spec = stream(kafka)
    send(kafka, spec, 5)
    commit(kafka, spec, 5)
    start(kafka, spec)
    start(kafka, spec)
    accounts(spec, kafka)
    make_again(kafka, spec)
    send(kafka, spec, 9)  # past the old offset: nothing but the id tells
    for refused in (lambda: start(kafka, spec), lambda: accounts(spec, kafka)):
        with pytest.raises(TopicChanged, match="was deleted and created again"):
            refused()


def test_a_checkpoint_of_an_earlier_version_is_not_given_to_a_shorter_topic(kafka: Settings) -> None:
    spec = stream(kafka)
    send(kafka, spec, 3)
    commit(kafka, spec, 5)
    with pytest.raises(TopicChanged, match="up to offset 5 of partition 0, which ends at 3"):
        start(kafka, spec)
    assert Notes(spec.checkpoint(kafka)).find(TOPIC_IDENTITY) is None


@pytest.mark.parametrize(
    ("committed", "ends", "said"),
    [
        ({}, {0: 3}, None),
        ({0: 3}, {0: 3, 1: 9}, None),
        ({0: 3, 1: 5}, {0: 3, 1: 4}, "offset 5 of partition 1, which ends at 4"),
        ({0: 3, 1: 5}, {0: 3}, "offset 5 of partition 1, which ends at 0"),
    ],
)
def test_committed_offsets_above_the_topics_end_are_found(
    committed: dict[int, int], ends: dict[int, int], said: str | None
) -> None:
    if said is None:
        require_not_ahead("t", committed, ends, "Do this.")
        return
    with pytest.raises(TopicChanged, match=said):
        require_not_ahead("t", committed, ends, "Do this.")


@pytest.mark.servers
def test_another_cluster_at_the_same_address_is_refused(tmp_path: Path) -> None:
    lake = {"lake_uri": str(tmp_path / "lake")}
    with running_broker(tmp_path / "first") as first:
        here = first.settings.model_copy(update=lake)
        spec = stream(here)
        start(here, spec)
    with running_broker(tmp_path / "second", first.settings.kafka_port) as second:
        here = second.settings.model_copy(update=lake)
        create_topics(here, (spec.topic,))
        with pytest.raises(TopicChanged, match=r"another Kafka cluster.*shop-streams recover"):
            start(here, spec)
        with pytest.raises(TopicChanged, match="another Kafka cluster"):
            accounts(spec, here)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_checkpoint_is_read_from_a_folder_and_from_an_address(tmp_path: Path, prefix: str) -> None:
    for name, text in {
        "offsets/0": 'v1\n{}\n{"t":{"0":5}}', "commits/0": "v1\n{}", "offsets/1": 'v1\n{}\n{"t":{"0":9,"1":2}}',
        "notes/topic_identity/part-00000.txt": "cluster/topic\n",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    folder = f"{prefix}{tmp_path}"
    assert committed_offsets(folder, "t") == {0: 5}
    assert planned_batch(folder, "t") == PlannedBatch(1, {0: 5}, {0: 9, 1: 2})
    assert metadata_without_spark(folder, "topic_identity") == "cluster/topic"
    assert metadata_without_spark(folder, "none") is None and committed_offsets(f"{folder}/none", "t") == {}


@pytest.mark.servers
def test_looking_at_a_topic_does_not_create_it_on_a_cluster_with_auto_creation() -> None:
    with running_broker(properties="auto.create.topics.enable=true") as broker:
        servers = broker.settings.kafka
        for look in (offset_ranges, topic_settings, read_topic):
            with pytest.raises(KafkaException):
                look(servers, "nobodys")
        assert topic_identity(servers, "nobodys") is None and copies(servers, ["nobodys"]) == {}
        assert "nobodys" not in AdminClient({"bootstrap.servers": str(servers)}).list_topics(timeout=10).topics


def test_a_broker_without_topic_ids_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Kafka 2.8, each id is zero: an upgrade would look like another topic, and another topic like the same."""
    described = {"cluster_id": "c", "topic_id": Uuid(0, 0)}
    answer = SimpleNamespace(result=lambda: SimpleNamespace(**described))
    asked = {"describe_cluster": lambda **_: answer, "describe_topics": lambda *_, **__: {"t": answer}}
    monkeypatch.setattr(identity, "admin", lambda *_: SimpleNamespace(**asked))
    with pytest.raises(ShopStreamsError, match=r"gives its topics no ids.*Use Kafka 2\.8"):
        topic_identity(Cluster("kafka:9092"), "t")
