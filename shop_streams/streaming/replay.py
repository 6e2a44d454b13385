"""Find what was refused, and send it again once it is fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.compute as pc
from confluent_kafka import KafkaException, Producer

from shop_streams.errors import ShopStreamsError
from shop_streams.lake import log
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS

MAX_REPLAY_BYTES = 100_000_000


def find(settings: Settings, domain: str | None = None) -> list[dict[str, Any]]:
    """Dead letters, oldest first, of one domain or of all."""
    table = log.scan(
        DEAD_LETTERS.uri(settings),
        [column.name for column in DEAD_LETTERS.columns],
        pc.field("domain") == domain if domain else None,
    )
    return table.sort_by("at").to_pylist() if table.num_rows else []


def replay(
    letters: list[dict[str, Any]], settings: Settings, fix: Callable[[bytes], bytes] = lambda raw: raw
) -> Iterator[dict[str, Any]]:
    """Send each letter's value, after `fix`, to its topic again; yields each once the broker has acknowledged it.

    Raises:
        ShopStreamsError: the broker did not take a record; those yielded before are safe.
    """
    config = {"bootstrap.servers": settings.kafka, "enable.idempotence": True, "acks": "all"}
    producer = Producer(config | {"message.max.bytes": MAX_REPLAY_BYTES})  # the topic's own limit decides, not ours
    failures: list[str] = []

    def delivered(error: Any, _message: Any) -> None:
        if error is not None:
            failures.append(str(error))

    for letter in letters:
        origin = f"{letter['topic']}:{letter['kafka_partition']}:{letter['kafka_offset']}"
        value = fix(letter["raw"]) if letter["raw"] is not None else None
        try:
            producer.produce(letter["topic"], value, headers={"replay_of": origin}, on_delivery=delivered)
        except KafkaException as error:
            raise ShopStreamsError(f"Kafka refused {origin}: {error}. Is it within the topic's size limit?") from error
        if producer.flush(30) or failures:
            reason = failures[0] if failures else "no acknowledgement within 30 s"
            raise ShopStreamsError(f"Replaying {origin} failed: {reason}. Is Kafka up? `shop-streams status` tells.")
        yield letter
