"""Streams with state that fill a topic: a state that is lost, and the way back from the lake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import KafkaException

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import offset_ranges
from shop_streams.streaming.checkpoint import has_a_place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyspark.sql import SparkSession

    from shop_streams.settings import Settings
    from shop_streams.streaming.spec import StreamSpec


class StateLost(ShopStreamsError):
    """The stream's state is gone, and its topic no longer has the records that it was made of."""

    next_step = "Run the command in the message."


@dataclass(frozen=True)
class StatePlan:
    """Where a stream continues with a state from the lake. `start`: partition -> first offset that is not in this state."""

    identity: str
    start: Mapping[int, int]
    table: str


class StateRecovery(Protocol):
    """How a stream gets its state back from the lake."""

    def plan(self, spec: StreamSpec, settings: Settings) -> StatePlan:
        """Where the stream would continue. Nothing is changed.

        Raises:
            ShopStreamsError: the lake can't give the state; says what to do first.
        """
        ...

    def earlier_topics(self, settings: Settings) -> int:
        """How many topics of this name the lake has rows of, besides the present one."""
        ...

    def recoveries(self, spec: StreamSpec, settings: Settings) -> int:
        """How often the state was recovered. An earlier checkpoint has a smaller number."""
        ...

    def carry_out(self, spec: StreamSpec, settings: Settings, spark: Callable[[], SparkSession]) -> str | None:
        """Do it; returns the folder where the old checkpoint is now. No run of the stream may be active."""
        ...


def require_state(spec: StreamSpec, settings: Settings) -> None:
    """Refuse to make a lost state again from a topic that no longer has its first records.

    The output would be overwritten with too small numbers. If nothing was ever written there, the stream is new.

    Raises:
        StateLost: says why the topic is not enough, and the command that continues.
    """
    output, folder = spec.sink.output_topic, spec.checkpoint(settings)
    if output is None or has_a_place(folder):
        return
    try:
        written = any(high for _, high in offset_ranges(settings.kafka, output.name, committed=False).values())
    except KafkaException:  # no such topic
        return
    cut = {n: low for n, (low, _) in offset_ranges(settings.kafka, spec.topic.name, committed=False).items() if low}
    recovery: StateRecovery | None = getattr(spec.sink, "recovery", None)
    earlier = recovery.earlier_topics(settings) if recovery is not None else 0
    if written and earlier:
        raise StateLost(
            f"Topic {output.name} was written with a state whose checkpoint {folder} is gone. Topic {spec.topic.name} was created again "
            f"since then, so a new state would lack the earlier topic's records. `shop-streams recover {spec.name}` shows how the state "
            "comes back from the lake, and `--yes` does it."
        )
    if written and cut:
        where = ", ".join(f"partition {number} begins at offset {low:,}" for number, low in sorted(cut.items()))
        raise StateLost(
            f"Topic {output.name} was written with a state whose checkpoint {folder} is gone. Topic {spec.topic.name} no longer has its "
            f"first records ({where}), so a new state would have too small numbers. `shop-streams recover {spec.name}` shows how the "
            "state comes back from the lake, and `--yes` does it."
        )
