"""What a Kafka topic is, how one is created, and what the broker says of it. Existing topics are left as they are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from shop_streams.kafka import ANSWER_SECONDS, admin, offset_ranges
from shop_streams.settings import Settings


@dataclass(frozen=True)
class Topic:
    """A topic: its name, who writes it, its settings on the broker, and its partitions where they are not the usual."""

    name: str
    description: str
    config: dict[str, str] = field(default_factory=dict)
    partitions: int | None = None


VIA_COLLECTOR = (
    "via_collector"  # a header on each of the collector's records, so that the topic itself tells how many there are
)
REPLAY_OF = "replay_of"  # a header on each replayed record: the origin of its dead letter

# The broker's time, not the producer's: retention, the accounts' hours and the rules about the future go by it, and a
# producer's clock may be days off.
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}


def durability(brokers: int, wished: int) -> tuple[int, int]:
    """(copies, copies that must be there before a record counts as acknowledged) of a new topic."""
    count = max(1, min(brokers, wished))
    return count, max(1, count - 1)  # one broker may be away


def create_topics(settings: Settings, topics: Sequence[Topic]) -> None:
    """Create those of `topics` that the broker does not have; the embedded broker's are given the broker's time too.

    Raises:
        KafkaException: the broker refused, for another reason than that the topic exists.
    """
    client = admin(settings.kafka)
    known = client.list_topics(timeout=20)
    copies, in_sync = durability(len(known.brokers), settings.topic_replication)
    new = [
        NewTopic(
            topic.name,
            topic.partitions or settings.topic_partitions,
            replication_factor=copies,
            config={"min.insync.replicas": str(in_sync)} | topic.config,
        )
        for topic in topics
        if topic.name not in known.topics
    ]
    for future in client.create_topics(new, request_timeout=20).values() if new else ():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    if settings.embedded["kafka"]:
        _give_broker_time(client, [topic for topic in topics if topic.name in known.topics])


def _give_broker_time(client: AdminClient, existing: list[Topic]) -> None:
    """Topics of an earlier version take the producer's time; records that they hold keep theirs."""
    entries = [
        ConfigResource(
            ResourceType.TOPIC,
            topic.name,
            incremental_configs=[ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)],
        )
        for topic in existing
        for name, value in topic.config.items()
        if topic.config is APPEND_TIME
    ]
    for future in client.incremental_alter_configs(entries, request_timeout=20).values() if entries else ():
        future.result()


def broker_time_problem(topic: str, found: dict[str, str], servers: str) -> str | None:
    """Why a topic that we read has not the broker's time, with the command that changes it; None when it has."""
    kind = found.get("message.timestamp.type")
    if kind == "LogAppendTime":
        return None
    return (
        f"Topic {topic} keeps the producer's time ({kind}): a producer with a wrong clock has its records deleted early, refused, "
        f"or counted in another hour. Change it: kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name "
        f"{topic} --add-config message.timestamp.type=LogAppendTime (records that are there keep their times)."
    )


def topic_settings(servers: str, topic: str) -> dict[str, str]:
    """The topic's settings on the broker, defaults included."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    client = admin(servers)  # must outlive its answer
    found = client.describe_configs([resource], request_timeout=ANSWER_SECONDS)[resource].result()
    return {name: entry.value for name, entry in found.items()}


def copies(servers: str, topics: Sequence[str], seconds: float = ANSWER_SECONDS) -> dict[str, int]:
    """On how many brokers an acknowledged record is at least, for each of those topics that exist.

    0 where the broker does not say (it may be forbidden to ask for a topic's settings).
    """
    client = admin(servers)
    known = client.list_topics(timeout=seconds).topics
    found = {name: 0 for name in topics if name in known}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in found]
    answers = client.describe_configs(resources, request_timeout=seconds) if resources else {}
    for resource, answer in answers.items():
        with suppress(KafkaException):
            in_sync = int(answer.result()["min.insync.replicas"].value)
            replicas = [len(one.replicas) for one in known[resource.name].partitions.values()]
            found[resource.name] = min([in_sync, *replicas])
    return found


def retention_seconds(servers: str, topic: str) -> float | None:
    """How long the topic keeps a record; None when for ever."""
    milliseconds = int(topic_settings(servers, topic)["retention.ms"])
    return None if milliseconds < 0 else milliseconds / 1000


class TopicExtent(NamedTuple):
    """What a topic holds: its partitions and offsets, and the times (epoch seconds) of its oldest and newest record, if any.

    There may be more offsets than records: a transaction's marker has an offset too.
    """

    partitions: int
    offsets: int
    oldest: float | None
    newest: float | None


def topic_extent(servers: str, topic: str) -> TopicExtent:
    """What the topic holds now, from its offsets alone.

    Raises:
        KafkaException: the broker does not answer, or has no such topic.
    """
    ranges = offset_ranges(servers, topic)
    client = admin(servers)

    def times(end: OffsetSpec) -> list[float]:
        asked = {TopicPartition(topic, number): end for number in ranges}
        answers = client.list_offsets(asked, request_timeout=ANSWER_SECONDS).values()
        return [one.timestamp / 1000 for answer in answers if (one := answer.result()).timestamp >= 0]

    oldest, newest = times(OffsetSpec.for_timestamp(0)), times(OffsetSpec.max_timestamp())
    offsets = sum(high - low for low, high in ranges.values())
    return TopicExtent(len(ranges), offsets, min(oldest, default=None), max(newest, default=None))
