"""Batch progress of a query, and a stream's reports: materializations of its asset and of the partitions that grew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import psycopg2
from confluent_kafka import KafkaException

from shop_streams.cluster import Cluster
from shop_streams.kafka import offset_ranges
from shop_streams.lake import reader
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.spec import Sidecar, StreamSpec, stream_key

LAG_SECONDS = 2.0  # it is asked between two beats and must not delay them


def consumer_lag(servers: Cluster, topic: str, end_offsets: dict[str, int]) -> int | None:
    """The number of offsets that a query has not committed, given its next offset of each partition; None without Kafka."""
    try:
        ranges = offset_ranges(servers, topic, LAG_SECONDS)
    except KafkaException:
        return None
    return sum(high - end_offsets.get(str(number), low) for number, (low, high) in ranges.items())


@dataclass(frozen=True)
class BatchProgress:
    """Spark's report of a query's last finished batch; `end_offsets`: partition -> next offset."""

    batch_id: int
    end_offsets: dict[str, int]
    input_rows_per_second: float
    processed_rows_per_second: float
    batch_duration_ms: int
    num_input_rows: int

    @classmethod
    def of(cls, progress: Any, topic: str) -> BatchProgress | None:
        """Parse Spark's progress report; None before the first batch has finished."""
        if progress is None:
            return None
        report = json.loads(progress.json)
        source = report["sources"][0]
        ends = source.get("endOffset") or {}
        if isinstance(ends, str):
            ends = json.loads(ends)
        return cls(
            batch_id=report["batchId"],
            end_offsets=ends.get(topic, {}),
            input_rows_per_second=float(source.get("inputRowsPerSecond") or 0),
            processed_rows_per_second=float(source.get("processedRowsPerSecond") or 0),
            batch_duration_ms=int(report.get("durationMs", {}).get("triggerExecution", 0)),
            num_input_rows=int(source.get("numInputRows") or 0),
        )

    def speed(self) -> dict[str, Any]:
        """The numbers for the UI's plots."""
        return {
            "input_rows_per_second": round(self.input_rows_per_second, 1),
            "processed_rows_per_second": round(self.processed_rows_per_second, 1),
            "batch_duration_ms": self.batch_duration_ms,
            "batch_rows": self.num_input_rows,
            "batch_id": str(self.batch_id),
        }


@dataclass
class Reporter:
    """Turns batch progress into materializations of the stream's asset and of each output partition that grew.

    `reported`: partition -> number of rows at the last report, from the Delta log.
    """

    spec: StreamSpec
    settings: Settings
    run_id: str
    sidecar: Sidecar | None = None
    reported: dict[str, int] = field(default_factory=dict)
    last_batch: int = -1
    last_metrics: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Read the present counts, so that a restart does not report old partitions again."""
        self.reported = self._counts()

    def _counts(self) -> dict[str, int]:
        table = self.spec.sink.table
        return reader.row_counts(table.uri(self.settings), table.partition_by[0]) if table else {}

    def events(self, progress: BatchProgress | None, lag: int | None) -> list[dg.AssetMaterialization]:
        """One report: always of the stream's asset, and of output partitions that grew since the last report."""
        new = progress is not None and progress.batch_id != self.last_batch
        output = self.output_events(progress)
        numbers: dict[str, Any] = {} if lag is None else {"consumer_lag": lag}
        if progress is not None and new:
            numbers |= progress.speed()
        elif not lag:
            numbers |= {"input_rows_per_second": 0.0, "processed_rows_per_second": 0.0, "batch_rows": 0}
        letters = reader.row_counts(DEAD_LETTERS.uri(self.settings), "domain")
        run = dg.MetadataValue.dagster_run(self.run_id)
        numbers |= {"dead_letters": letters.get(self.spec.domain, 0), "run": run}
        stream = dg.AssetMaterialization(stream_key(self.spec), metadata=numbers)
        return [stream, *output, *self._of_sidecar()]

    def _of_sidecar(self) -> list[dg.AssetMaterialization]:
        if self.sidecar is None or self.spec.sidecar is None:
            return []
        try:
            metrics = self.sidecar.metrics()
        except psycopg2.OperationalError:
            return []
        if metrics == self.last_metrics:
            return []
        self.last_metrics = metrics
        return [dg.AssetMaterialization(self.spec.sidecar.output, metadata=dict(metrics))]

    def output_events(self, progress: BatchProgress | None) -> list[dg.AssetMaterialization]:
        """Output partitions that have grown since the last report, if there was a batch since."""
        if progress is None or progress.batch_id == self.last_batch:
            return []
        self.last_batch, batch = progress.batch_id, {"batch_id": str(progress.batch_id)}
        if self.spec.sink.table is None:
            return [dg.AssetMaterialization(self.spec.output, metadata=batch)]
        return self.grown(batch)

    def grown(self, batch: Mapping[str, str]) -> list[dg.AssetMaterialization]:
        """Output partitions that have grown since the last report; none without a table."""
        counts = self._counts()
        grown = {key: rows for key, rows in sorted(counts.items()) if self.reported.get(key) != rows}
        self.reported = counts
        return [
            dg.AssetMaterialization(
                self.spec.output,
                partition=key,
                metadata={"dagster/partition_row_count": rows, **batch},
            )
            for key, rows in grown.items()
        ]
