"""An offset means nothing without its cluster and topic: both ids are kept in the checkpoint, and compared.

A topic that was deleted and made again, or another cluster at the same address, starts at offset 0. A query that goes on
from its old offsets would leave out what lies before them, and nobody would see it.
"""

from __future__ import annotations

from collections.abc import Mapping

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import offset_ranges, topic_identity
from shop_streams.streaming.checkpoint import CheckpointMetadata

NOTE = "topic_identity"
WAY_OUT = (
    "Switch the stream off, move its checkpoint away together with the table that it fills (else its old rows would stand in "
    "for the new records), and switch it on: it begins anew at the earliest record."
)


class TopicChanged(ShopStreamsError):
    """The topic, or the cluster, is not the one that the stream's offsets belong to."""


class RecordsLost(ShopStreamsError):
    """Kafka has deleted records that the stream had not read."""


def require_same(topic: str, known: str, found: str | None) -> None:
    """Compare two identities, each `cluster id/topic id`; `found` is None for a topic that is not there.

    Raises:
        TopicChanged: they differ; says which of the two ids, and what to do.
    """
    if found == known:
        return
    if found is None:
        what = f"topic {topic} does not exist any more"
    elif found.split("/")[0] != known.split("/")[0]:
        what = f"this is another Kafka cluster: {found.split('/')[0]}, not {known.split('/')[0]}"
    else:
        what = f"topic {topic} was deleted and made again: its id is {found.split('/')[1]}, not {known.split('/')[1]}"
    raise TopicChanged(f"{what}. The stream's offsets mean nothing there, and it would leave records out. {WAY_OUT}")


def require_unchanged(
    metadata: CheckpointMetadata, servers: str, topic: str, committed: Mapping[int, int]
) -> dict[int, int]:
    """Keep the topic's identity at the checkpoint's first start, and compare it at each later one.

    `committed` are the offsets that the stream has come to, for each partition; the topic's earliest ones are returned.

    Raises:
        TopicChanged: the topic or the cluster is another one, or the topic ends before what the stream has come to.
        RecordsLost: the topic begins behind an offset that the stream has come to.
    """
    found = topic_identity(servers, topic)
    if found is None:
        raise TopicChanged(
            f"topic {topic} does not exist at {servers}. Create it: `shop-streams prepare` does. {WAY_OUT}"
        )
    noted = metadata.find(NOTE)
    if noted is not None:
        require_same(topic, noted, found)
    marks = offset_ranges(servers, topic, committed=False)
    earliest = {number: low for number, (low, _) in marks.items()}
    require_not_ahead(topic, committed, {number: high for number, (_, high) in marks.items()})
    require_all_held(topic, committed, earliest)
    if noted is None:
        metadata.get(NOTE, lambda: found)  # a checkpoint of an earlier version gets it too, if it fits
    return earliest


def require_not_ahead(topic: str, committed: Mapping[int, int], ends: Mapping[int, int]) -> None:
    """Refuse a topic that ends before what the stream has come to; offsets for each partition.

    Raises:
        TopicChanged: it was made again, or its broker lost records; says where, and what to do.
    """
    ahead = {number: offset for number, offset in committed.items() if offset > ends.get(number, 0)}
    if ahead:
        where = ", ".join(
            f"{offset} of partition {number}, which ends at {ends.get(number, 0)}"
            for number, offset in sorted(ahead.items())
        )
        raise TopicChanged(
            f"The stream has read topic {topic} up to offset {where}: this is another topic, or the broker lost records. {WAY_OUT}"
        )


def require_all_held(topic: str, committed: Mapping[int, int], earliest: Mapping[int, int]) -> None:
    """Refuse to pass over records that were deleted before the stream had read them; offsets for each partition.

    Raises:
        RecordsLost: how many offsets of which partition, and what to do.
    """
    lost = {number: low - committed[number] for number, low in earliest.items() if low > committed.get(number, low)}
    if lost:
        where = ", ".join(f"{offsets} of partition {number}" for number, offsets in sorted(lost.items()))
        raise RecordsLost(
            f"Kafka's retention has deleted offsets of topic {topic} that the stream had not read: {where}. They are gone. "
            f"Raise the topic's retention.ms. To go on with what is left: {WAY_OUT}"
        )
