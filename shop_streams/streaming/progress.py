"""What a stream reports: numbers about itself for the lease, and materializations of the partitions it touched."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from shop_streams.kafka import watermarks
from shop_streams.lake import log
from shop_streams.lake.table import Table


def consumer_lag(servers: str, topic: str, end_offsets: dict[str, int]) -> int:
    """Records of the topic that a query has not committed, given its next offset for each partition."""
    marks = watermarks(servers, topic)
    return sum(high - end_offsets.get(str(number), low) for number, (low, high) in marks.items())


@dataclass(frozen=True)
class Sample:
    """The newest finished batch of a query, in the words of the UI's plots."""

    batch_id: int
    end_offsets: dict[str, int]
    input_rows_per_second: float
    processed_rows_per_second: float
    batch_duration_ms: int
    num_input_rows: int

    @classmethod
    def of(cls, progress: Any, topic: str) -> Sample | None:
        """Read Spark's progress report (its JSON form); None before the first batch has finished."""
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


@dataclass
class Reporter:
    """Turns progress into materializations of the output asset: each partition whose row count moved since the last report.

    The counts come from the Delta log. `reported` is what the event log was told so far by this run.
    """

    output: dg.AssetKey
    table: Table | None
    table_uri: str | None
    dead_letters_uri: str
    domain: str
    reported: dict[str, int] = field(default_factory=dict)
    last_batch: int = -1

    def start(self) -> None:
        """Take the present counts as known, so that a restart does not report old partitions again."""
        self.reported = self._counts()

    def _counts(self) -> dict[str, int]:
        if self.table is None or self.table_uri is None:
            return {}
        return log.row_counts(self.table_uri, self.table.partition_by[0])

    def events(self, sample: Sample, lag: int | None) -> list[dg.AssetMaterialization]:
        """The materializations that are due now; none when no batch has finished since the last call."""
        if sample.batch_id == self.last_batch:
            return []
        counts = self._counts()
        touched: dict[str | None, int | None] = {
            partition: rows for partition, rows in sorted(counts.items()) if self.reported.get(partition) != rows
        }
        if self.table is None:
            touched = {None: None}
        dead_letters = Counter(log.row_counts(self.dead_letters_uri, "domain"))[self.domain]
        self.reported, self.last_batch = counts, sample.batch_id
        shared: dict[str, Any] = {
            "input_rows_per_second": sample.input_rows_per_second,
            "processed_rows_per_second": sample.processed_rows_per_second,
            "batch_duration_ms": sample.batch_duration_ms,
            "batch_rows": sample.num_input_rows,
            "batch_id": sample.batch_id,
            "dead_letters": dead_letters,
        } | ({"consumer_lag": lag} if lag is not None else {})
        return [
            dg.AssetMaterialization(
                self.output,
                partition=partition,
                metadata=shared | ({"dagster/partition_row_count": rows} if rows is not None else {}),
            )
            for partition, rows in touched.items()
        ]
