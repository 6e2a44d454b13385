"""The state of `hourly_metrics` from the lake: the sums of each hour over the rows of the table, and Kafka's records after them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.sales import aggregate, transforms
from shop_streams.defs.sales.sent import Hours, sent_hours
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import offset_ranges, read_topic
from shop_streams.kafka_send import send_all
from shop_streams.lake import facts
from shop_streams.settings import Settings
from shop_streams.streaming.agreement import RECOVERIES
from shop_streams.streaming.checkpoint import (
    GENERATION,
    GENERATION_STEP,
    STARTING,
    Start,
    committed_offsets,
    metadata_without_spark,
    partition_shift,
)
from shop_streams.streaming.checkpoint_swap import replace_checkpoint
from shop_streams.streaming.identity import TOPIC_IDENTITY, topic_identity
from shop_streams.streaming.recover import problem_of
from shop_streams.streaming.spans import as_sql
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.state import StatePlan


@dataclass(frozen=True)
class HourlyRecovery:
    """The way back of `hourly_metrics`, from the table of the stream `ingest`."""

    ingest: StreamSpec

    def plan(self, spec: StreamSpec, settings: Settings) -> StatePlan:
        """Continue where the table ends: every record before that is a row of the table, or breaks a rule."""
        assert self.ingest.sink.table is not None
        topic = spec.topic.name
        if problem := problem_of(self.ingest, settings):
            raise ShopStreamsError(
                f"The table that has the state can't go on itself. First run `shop-streams recover {self.ingest.name}`: {problem}"
            )
        identity = topic_identity(settings.kafka, topic)
        ranges = offset_ranges(settings.kafka, topic)
        committed = committed_offsets(self.ingest.checkpoint(settings), topic)
        start = {number: committed.get(number, low) for number, (low, _) in ranges.items()}
        return StatePlan(str(identity), start, self.ingest.sink.table.path)

    def earlier_topics(self, settings: Settings) -> int:
        """As the checkpoint of `ingest` counts them."""
        return partition_shift(self.ingest.checkpoint(settings)) // GENERATION_STEP

    def recoveries(self, spec: StreamSpec, settings: Settings) -> int:
        """As the table of `ingest` remembers it."""
        return facts.recall(self._table_uri(settings), self._fact(spec)) or 0

    def _table_uri(self, settings: Settings) -> str:
        assert self.ingest.sink.table is not None
        return self.ingest.sink.table.uri(settings)

    def _fact(self, spec: StreamSpec) -> str:
        return f"{RECOVERIES}:{spec.name}"

    def carry_out(self, spec: StreamSpec, settings: Settings, spark: Callable[[], SparkSession]) -> str | None:
        """Compute the sums, send the hours that differ from the topic's, and write the new checkpoint's metadata."""
        assert self.ingest.sink.table is not None and spec.sink.output_topic is not None
        plan, folder, output = self.plan(spec, settings), spec.checkpoint(settings), spec.sink.output_topic.name
        sent = sent_hours(read_topic(settings.kafka, output)).values
        known = metadata_without_spark(folder, aggregate.OFFSET_KEY)
        offset = int(known or offset_of(list(sent)))
        rows = self.ingest.sink.table.read(spark(), settings)
        shift = partition_shift(self.ingest.checkpoint(settings))
        metrics = transforms.hourly_metrics(
            before(rows, plan.start, shift),
            offset,
            sums_as=transforms.EXACT_OF_ANY,
        )
        hours = transforms.as_records(metrics).collect()
        # A record that Kafka refuses ends the command here, before the checkpoint that would call it sent.
        send_all(settings.kafka, output, to_send([(row.key, row.value) for row in hours], sent))
        number = self.recoveries(spec, settings) + 1
        facts.remember(self._table_uri(settings), {self._fact(spec): number})
        notes = {
            RECOVERIES: str(number),
            aggregate.OFFSET_KEY: str(offset),
            aggregate.SUMS_KEY: transforms.EXACT,
            aggregate.BASE_KEY: aggregate.base_json(row.value for row in hours),
            GENERATION: str(shift // GENERATION_STEP),
            TOPIC_IDENTITY: plan.identity,
            STARTING: Start(plan.start).as_json(),
        }
        return replace_checkpoint(folder, notes)


def to_send(hours: Iterable[tuple[str, str]], sent: Hours) -> list[tuple[str, str]]:
    """The `hours` (key, value) that were not `sent`, or of which a partition's last record has another value."""
    return [
        (key, value)
        for key, value in hours
        if key not in sent or any(one != json.loads(value) for one in sent[key].values())
    ]


def before(rows: DataFrame, start: Mapping[int, int], shift: int) -> DataFrame:
    """The table's rows whose records come before `start`, and those of earlier topics (see `partition_shift`)."""
    inside = as_sql(
        {number + shift: [(0, end)] for number, end in start.items() if end}, "kafka_partition", "kafka_offset"
    )
    return rows.where(f"kafka_partition < {shift} or {inside}")


def offset_of(hours: list[str]) -> int:
    """Seconds after the clock hour at which the sent windows begin; 0 if none was sent."""
    return int(hours[-1]) % transforms.HOUR if hours else 0
