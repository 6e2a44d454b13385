"""The identity of a stream's topic: the ids of cluster and topic are stored in the checkpoint and compared.

A topic that was deleted and created again, or another cluster at the same address, starts at offset 0. A query that
continues from its old offsets would silently skip the records before them.
"""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection, Uuid

from shop_streams.cluster import Cluster
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import ANSWER_SECONDS, admin, offset_ranges
from shop_streams.streaming.checkpoint import CheckpointMetadata

TOPIC_IDENTITY = "topic_identity"
NO_ID = str(Uuid(0, 0))


class TopicChanged(ShopStreamsError):
    """The stream's offsets belong to another topic or cluster."""


class RecordsLost(ShopStreamsError):
    """Kafka has deleted records that the stream had not read."""


def topic_identity(servers: Cluster, topic: str, seconds: float = ANSWER_SECONDS) -> str | None:
    """`cluster id/topic id`, which differs for another topic of the same name; None if the topic does not exist.

    Raises:
        KafkaException: the broker does not answer within `seconds`.
        ShopStreamsError: the broker gives topics no ids, so a topic that was created again would look the same, and an upgrade
            that gives them ids would look like another topic.
    """
    client = admin(servers)
    cluster = client.describe_cluster(request_timeout=seconds).result().cluster_id
    try:
        (described,) = client.describe_topics(TopicCollection([topic]), request_timeout=seconds).values()
        number = str(described.result().topic_id)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    if number == NO_ID:
        raise ShopStreamsError(
            f"Kafka at {servers} gives its topics no ids, so that a topic that was deleted and created again can't be told from "
            "the one before. Use Kafka 2.8 or newer, or a service that has topic ids."
        )
    return f"{cluster}/{number}"


def way_out(stream: str) -> str:
    """The next step for a stream whose topic is another one or lacks records, in words."""
    return f"`shop-streams recover {stream}` shows how to continue in the same table, and what is lost."


def require_same(topic: str, known: str, found: str | None, step: str) -> None:
    """Compare two identities `cluster id/topic id`; `found` is None if the topic does not exist. `step`: what to do, in words.

    Raises:
        TopicChanged: they differ; says which id, and what to do.
    """
    if found == known:
        return
    if found is None:
        what = f"topic {topic} no longer exists"
    elif found.split("/")[0] != known.split("/")[0]:
        what = f"this is another Kafka cluster: {found.split('/')[0]}, not {known.split('/')[0]}"
    else:
        what = (
            f"topic {topic} was deleted and created again: its id is {found.split('/')[1]}, not {known.split('/')[1]}"
        )
    raise TopicChanged(f"{what}. The stream's offsets do not belong to it, so the stream would skip records. {step}")


def require_unchanged(
    metadata: CheckpointMetadata, servers: Cluster, topic: str, committed: Mapping[int, int], step: str
) -> dict[int, int]:
    """Store the topic's identity at the checkpoint's first start, and compare it at each later one.

    `committed`: partition -> first offset that is not committed. `step`: as in `require_same`.
    Returns partition -> the topic's earliest offset.

    Raises:
        TopicChanged: another topic or cluster, or the topic ends before a committed offset.
        RecordsLost: the topic begins after a committed offset.
    """
    found = topic_identity(servers, topic)
    if found is None:
        raise TopicChanged(f"topic {topic} does not exist at {servers}. Create it: `shop-streams prepare` does. {step}")
    stored = metadata.find(TOPIC_IDENTITY)
    if stored is not None:
        require_same(topic, stored, found, step)
    ranges = offset_ranges(servers, topic, committed=False)
    earliest = {number: low for number, (low, _) in ranges.items()}
    require_not_ahead(topic, committed, {number: high for number, (_, high) in ranges.items()}, step)
    require_all_held(topic, committed, earliest, step)
    if stored is None:  # a new checkpoint, or one of an earlier version
        metadata.get(TOPIC_IDENTITY, lambda: found)
    return earliest


def require_not_ahead(topic: str, committed: Mapping[int, int], ends: Mapping[int, int], step: str) -> None:
    """Refuse a topic that ends before an offset that the stream has committed; partition -> offset.

    Raises:
        TopicChanged: the topic was created again, or its broker lost records; says where, and what to do.
    """
    ahead = {number: offset for number, offset in committed.items() if offset > ends.get(number, 0)}
    if ahead:
        where = ", ".join(
            f"{offset} of partition {number}, which ends at {ends.get(number, 0)}"
            for number, offset in sorted(ahead.items())
        )
        raise TopicChanged(
            f"The stream has read topic {topic} up to offset {where}: this is another topic, or the broker lost records. {step}"
        )


def require_all_held(topic: str, committed: Mapping[int, int], earliest: Mapping[int, int], step: str) -> None:
    """Refuse to skip records that were deleted before the stream read them; partition -> offset.

    A partition that the topic has gained since counts from 0, as Spark counts it.

    Raises:
        RecordsLost: says how many offsets of which partition, and what to do.
    """
    read = {number: committed.get(number, 0 if committed else low) for number, low in earliest.items()}
    lost = {number: low - read[number] for number, low in earliest.items() if low > read[number]}
    if lost:
        where = ", ".join(f"{offsets} of partition {number}" for number, offsets in sorted(lost.items()))
        raise RecordsLost(
            f"Kafka's retention has deleted offsets of topic {topic} that the stream had not read: {where}. "
            f"Raise the topic's retention.ms. To continue with the remaining records: {step}"
        )
