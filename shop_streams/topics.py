"""Every Kafka topic of the project, and how to create them. Existing topics are left as they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from shop_streams.settings import Settings


@dataclass(frozen=True)
class Topic:
    """A topic: its name, who writes it, and its settings on the broker."""

    name: str
    description: str
    config: dict[str, str] = field(default_factory=dict)


EVENTS = Topic("events", "One record is one tracked product event, as the collector accepted it; key = user_id.")
SHOP_EVENTS = Topic("shop_events", "One record is one view or purchase in the shop; any producer may write it.")
HOURLY_METRICS = Topic(
    "hourly_metrics",
    "One record is an hour's revenue, visitors, purchases and average order value; key = start_ts, the last record of a key is the truth.",
    {"cleanup.policy": "compact"},
)
ALL = (EVENTS, SHOP_EVENTS, HOURLY_METRICS)


def create_topics(settings: Settings, topics: tuple[Topic, ...] = ALL) -> None:
    """Create those of `topics` that the broker does not have.

    Raises:
        KafkaException: the broker refused, for another reason than that the topic exists.
    """
    client = AdminClient({"bootstrap.servers": settings.kafka})
    new = [NewTopic(topic.name, settings.topic_partitions, config=topic.config) for topic in topics]
    for future in client.create_topics(new, request_timeout=20).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
