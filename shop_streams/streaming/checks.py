"""Checks that every stream has: its lag, and for a lake sink the accounting of offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.kafka import watermarks
from shop_streams.lake import log
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.lease import Leases
from shop_streams.streaming.spec import StreamSpec


@dataclass(frozen=True)
class PartitionAccount:
    """One Kafka partition: what the topic offers, [low, high), and what the lake holds of it."""

    partition: int
    low: int
    high: int
    rows: int
    dead_letters: int
    distinct: int
    first: int | None
    last: int | None

    @property
    def in_flight(self) -> int:
        """Offsets behind the last one that arrived."""
        return self.high - (self.low if self.last is None else self.last + 1)

    @property
    def exact(self) -> bool:
        """Every offset from the first to the last arrived exactly once, and none that the topic holds was passed over."""
        if self.first is None or self.last is None:
            return True
        arrived = self.rows + self.dead_letters
        return arrived == self.distinct == self.last - self.first + 1 and self.first <= self.low


def accounts(spec: StreamSpec, settings: Settings) -> list[PartitionAccount]:
    """The account of each partition of the stream's topic, out of Kafka's offsets and the lake's own columns."""
    table = spec.sink.table
    if table is None:
        raise ValueError(f"{spec.name} has no lake table to account for")
    columns = ["kafka_partition", "kafka_offset"]
    rows = log.scan(table.uri(settings), columns)
    letters = log.scan(DEAD_LETTERS.uri(settings), columns, pc.field("topic") == spec.topic.name)
    return [
        _account(number, marks, _offsets(rows, number), _offsets(letters, number))
        for number, marks in watermarks(settings.kafka, spec.topic.name).items()
    ]


def _offsets(table: pa.Table, partition: int) -> pa.ChunkedArray:
    if table.num_columns == 0:
        return pa.chunked_array([], pa.int64())
    return table.filter(pc.equal(table["kafka_partition"], partition))["kafka_offset"]


def _account(
    partition: int, marks: tuple[int, int], rows: pa.ChunkedArray, letters: pa.ChunkedArray
) -> PartitionAccount:
    arrived = pa.chunked_array(rows.chunks + letters.chunks, pa.int64())
    bounds = pc.min_max(arrived).as_py()
    distinct = pc.count_distinct(arrived).as_py()
    return PartitionAccount(partition, *marks, len(rows), len(letters), distinct, bounds["min"], bounds["max"])


def build_checks(spec: StreamSpec) -> Sequence[dg.AssetChecksDefinition]:
    """The stream's checks on its output asset."""

    @dg.asset_check(asset=spec.output, name="lag", description=f"{spec.name} is alive and keeps up with its topic.")
    def lag() -> dg.AssetCheckResult:
        settings = get_settings()
        lease = Leases(settings.postgres).read().get(spec.name)
        if lease is None:
            return dg.AssetCheckResult(passed=False, description="The stream has never run; switch its sensor on.")
        alive = lease.fresh(settings.lease_seconds)
        keeps_up = lease.lag is not None and lease.lag <= settings.lag_alarm_offsets
        return dg.AssetCheckResult(
            passed=alive and keeps_up,
            metadata={
                "consumer_lag": lease.lag if lease.lag is not None else -1,
                "allowed_lag": settings.lag_alarm_offsets,
                "beat_age_seconds": lease.beat_age,
                "epoch": lease.epoch,
            },
        )

    @dg.asset_check(
        asset=spec.output,
        name="accounting",
        blocking=False,
        description="Offsets read = rows + dead letters, for each partition of the topic: none missing, none twice.",
    )
    def accounting() -> dg.AssetCheckResult:
        per_partition = accounts(spec, get_settings())
        return dg.AssetCheckResult(
            passed=all(account.exact for account in per_partition),
            metadata={
                "rows": sum(account.rows for account in per_partition),
                "dead_letters": sum(account.dead_letters for account in per_partition),
                "in_flight": sum(account.in_flight for account in per_partition),
                "partitions": dg.MetadataValue.table(
                    [
                        dg.TableRecord(
                            {
                                "partition": account.partition, "low": account.low, "high": account.high,
                                "rows": account.rows, "dead_letters": account.dead_letters,
                                "distinct_offsets": account.distinct, "in_flight": account.in_flight,
                                "exact": account.exact,
                            }
                        )
                        for account in per_partition
                    ]
                ),
            },
        )  # fmt: skip

    return [lag, accounting] if spec.sink.table else [lag]
