"""Every Kafka topic of the project, and how to create them. Existing topics are left as they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from shop_streams.settings import Settings


@dataclass(frozen=True)
class Topic:
    """A topic: its name, who writes it, its settings on the broker, and its partitions where they are not the usual."""

    name: str
    description: str
    config: dict[str, str] = field(default_factory=dict)
    partitions: int | None = None


EVENTS = Topic("events", "One record is one tracked product event, as the collector accepted it; key = user_id.")
SHOP_EVENTS = Topic("shop_events", "One record is one view or purchase in the shop; any producer may write it.")
HOURLY_METRICS = Topic(
    "hourly_metrics",
    "One record is an hour's revenue, visitors, purchases and average order value; key = start_ts, the last record of a key is the truth.",
    {"cleanup.policy": "compact"},
)
PROMOTIONS = Topic(
    "promotions",
    "One record is one message of a restaurant about its campaign; the key means nothing.",
    {"message.timestamp.type": "LogAppendTime"},  # of two messages about a campaign, the later to arrive may count
)
NOTIFICATION_BYTES = 2_097_152  # a campaign of Kafka's usual limit of 1 MiB, and its client
PROMOTION_NOTIFICATIONS = Topic(
    "promotion_notifications",
    "One record is one client's notification of one campaign, sent once; key = adv_campaign_id:client_id.",
    {"max.message.bytes": str(NOTIFICATION_BYTES)},
)


def outbox_of(topic: Topic) -> Topic:
    """The topic that says what of an outbox is in `topic`."""
    return Topic(
        f"{topic.name}_outbox",
        f"One record is a number: all that the outbox of this name (the key) holds up to it is in topic {topic.name}.",
        {"cleanup.policy": "compact", "segment.bytes": "1048576"},
        partitions=1,
    )


ALL = (
    EVENTS,
    SHOP_EVENTS,
    HOURLY_METRICS,
    PROMOTIONS,
    PROMOTION_NOTIFICATIONS,
    outbox_of(PROMOTION_NOTIFICATIONS),
)


def create_topics(settings: Settings, topics: tuple[Topic, ...] = ALL) -> None:
    """Create those of `topics` that the broker does not have.

    Raises:
        KafkaException: the broker refused, for another reason than that the topic exists.
    """
    client = AdminClient({"bootstrap.servers": settings.kafka})
    usual = settings.topic_partitions
    new = [NewTopic(topic.name, topic.partitions or usual, config=topic.config) for topic in topics]
    for future in client.create_topics(new, request_timeout=20).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
