"""Detect a query that hangs: records wait, and no batch commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import planned_batch
from shop_streams.streaming.spec import StreamSpec


class QueryStalled(ShopStreamsError):
    """The query commits no batch although records wait."""

    next_step = (
        "The sensor starts the stream again, which repeats the batch. If it stalls again, see the logs of Spark and Kafka "
        "(embedded: logs/spark.log, logs/kafka.log in the home folder) for what the batch waits for. SHOP_STREAMS_STALL_SECONDS is the limit; it doubles after each failure."
    )


class StallWatch:
    """Measures how long a query has stalled: records wait, and its progress does not change.

    `sound`: a batch of this run has committed, or there was nothing to commit.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.sound = False
        self._clock = clock
        self._since = clock()
        self._committed: tuple[int | None, dict[str, int]] = (None, {})

    def stood_still(
        self, batch_id: int | None, end_offsets: Mapping[str, int], waiting: int | None, in_batch: bool
    ) -> float:
        """Seconds since the query last made progress or had nothing to do.

        `batch_id` and `end_offsets` (by partition) are those of the last reported batch. `waiting` is the number of
        uncommitted records; None while Kafka does not answer, which counts as waiting.
        """
        committed = (batch_id, dict(end_offsets))
        if committed != self._committed or (waiting == 0 and not in_batch):
            self._since, self._committed, self.sound = self._clock(), committed, True
        return self._clock() - self._since


def stalled(spec: StreamSpec, settings: Settings, seconds: float, waiting: int | None) -> QueryStalled:
    """The error, with the batch and the number of waiting records."""
    batch = planned_batch(spec.checkpoint(settings), spec.topic.name)
    name = f"batch {batch.batch_id}" if batch else "the next batch (not planned yet)"
    if waiting is None:
        return QueryStalled(
            f"Kafka at {settings.kafka} does not answer, and {name} has not been committed for {seconds:.0f} s."
        )
    return QueryStalled(
        f"{name} has not been committed for {seconds:.0f} s, while {waiting} records of topic {spec.topic.name} wait."
    )
