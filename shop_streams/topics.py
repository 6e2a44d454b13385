"""Kafka topics: their specification, their creation, and what the broker reports about them."""

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

from shop_streams.cluster import Cluster
from shop_streams.encoding import JSON, Encoding
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import ANSWER_SECONDS, admin, offset_ranges
from shop_streams.kafka_access import RIGHTS, KafkaRefused, acl_command, require_access
from shop_streams.settings import Settings


@dataclass(frozen=True)
class Topic:
    """A topic: name, description, broker settings, and number of partitions (None: the setting `topic_partitions`).

    `encoding`: of its records' values, so that a person can read and fix one.
    """

    name: str
    description: str
    config: dict[str, str] = field(default_factory=dict)
    partitions: int | None = None
    encoding: Encoding = JSON


VIA_COLLECTOR = "via_collector"  # a header on each of the collector's records, to count them in the topic
REPLAY_OF = "replay_of"  # a header on each replayed record, with the origin of its dead letter

# Retention, the accounts' hours and the rule about future events use the record's time. A producer's clock may be days off.
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}


def durability(brokers: int, wished: int) -> tuple[int, int]:
    """(replication factor, min.insync.replicas) of a new topic."""
    count = max(1, min(brokers, wished))
    return count, max(1, count - 1)  # one broker may be away


def create_topics(settings: Settings, topics: Sequence[Topic]) -> None:
    """Create the topics that do not exist. On the embedded broker, existing topics get the broker's time too.

    Raises:
        KafkaRefused: the user may not create or use them; with the commands for an administrator.
        ShopStreamsError: the broker refuses a topic, for example by a policy; names the topic and the reason.
        KafkaException: no broker answers.
    """
    require_access(settings.kafka)
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
    refused, problems = list[str](), dict[str, str]()
    for name, future in client.create_topics(new, request_timeout=20).items() if new else ():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() in (
                KafkaError.TOPIC_AUTHORIZATION_FAILED,
                KafkaError.CLUSTER_AUTHORIZATION_FAILED,
            ):
                refused.append(name)
            elif error.args[0].code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
                raise
            elif error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                problems[name] = error.args[0].str()
    if refused:
        raise _not_allowed(settings.kafka, [topic for topic in new if topic.topic in refused])
    if problems:
        commands = [_creation(settings.kafka, topic) for topic in new if topic.topic in problems]
        reasons = "; ".join(f"{name}: {reason}" for name, reason in problems.items())
        raise ShopStreamsError(
            f"Kafka at {settings.kafka} does not create all topics. {reasons}. Create them by hand, without what it refuses, "
            "then try again:\n" + "\n".join(commands)
        )
    if settings.embedded["kafka"]:
        _give_broker_time(client, [topic for topic in topics if topic.name in known.topics])
    else:
        require_access(settings.kafka, [topic.name for topic in topics])


def _creation(cluster: Cluster, topic: NewTopic) -> str:
    """The command that creates the topic."""
    return (
        f"kafka-topics.sh --bootstrap-server {cluster} --command-config admin.properties --create --if-not-exists --topic {topic.topic} "
        f"--partitions {topic.num_partitions} --replication-factor {topic.replication_factor} "
        + " ".join(f"--config {name}={value}" for name, value in (topic.config or {}).items())
    )


def _not_allowed(cluster: Cluster, topics: Sequence[NewTopic]) -> KafkaRefused:
    """What to hand to an administrator: the commands that create the topics and allow us to use them."""
    commands = [_creation(cluster, one) for one in topics]
    commands += [acl_command(cluster, RIGHTS.values(), f"--topic {one.topic}") for one in topics]
    names = ", ".join(one.topic for one in topics)
    return KafkaRefused(
        f"Kafka at {cluster} does not let user {cluster.username or '(none)'} create topics, and these are missing or hidden from it: "
        f"{names}. Ask an administrator to run these commands, then try again:\n" + "\n".join(commands)
    )


def _give_broker_time(client: AdminClient, existing: list[Topic]) -> None:
    """Set the broker's time on topics of earlier versions. The records in them keep their times."""
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


def broker_time_problem(topic: str, found: dict[str, str], servers: Cluster) -> str | None:
    """The problem of a topic that keeps the producer's time, with the command that changes it; otherwise None."""
    kind = found.get("message.timestamp.type")
    if kind == "LogAppendTime":
        return None
    return (
        f"Topic {topic} keeps the producer's time ({kind}): a producer with a wrong clock has its records deleted early, refused, "
        f"or counted in another hour. Change it: kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name "
        f"{topic} --add-config message.timestamp.type=LogAppendTime (records that are there keep their times)."
    )


def topic_settings(servers: Cluster, topic: str) -> dict[str, str]:
    """The topic's settings on the broker, defaults included."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    client = admin(servers)  # it must exist until the answer is there
    found = client.describe_configs([resource], request_timeout=ANSWER_SECONDS)[resource].result()
    return {name: entry.value for name, entry in found.items()}


def copies(servers: Cluster, topics: Sequence[str], seconds: float = ANSWER_SECONDS) -> dict[str, int]:
    """Topic -> the number of brokers that have each acknowledged record, at least; topics that do not exist are left out.

    0 if the broker does not allow us to read the topic's settings.
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


def retention_seconds(servers: Cluster, topic: str) -> float | None:
    """How long the topic keeps a record; None without a limit."""
    milliseconds = int(topic_settings(servers, topic)["retention.ms"])
    return None if milliseconds < 0 else milliseconds / 1000


class TopicExtent(NamedTuple):
    """What a topic holds: numbers of partitions and offsets, and the times (epoch seconds) of its oldest and newest record.

    There may be more offsets than records: a transaction marker has an offset too.
    """

    partitions: int
    offsets: int
    oldest: float | None
    newest: float | None


def topic_extent(servers: Cluster, topic: str) -> TopicExtent:
    """What the topic holds now, without reading records.

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
