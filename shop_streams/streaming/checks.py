"""Checks that every stream has: its lag, and for a lake sink the accounting of offsets."""

from __future__ import annotations

import time
from collections.abc import Sequence

import dagster as dg

from shop_streams.kafka import offset_ranges, oldest_timestamp
from shop_streams.settings import get_settings
from shop_streams.streaming.accounting import RECENT_HOURS, recent_accounts
from shop_streams.streaming.checkpoint import committed_offsets
from shop_streams.streaming.identity import TopicChanged
from shop_streams.streaming.lease import Leases
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import broker_time_problem, retention_seconds, topic_settings

RETENTION_ALARM = 0.5  # of the retention: half of it is left to act


def build_checks(spec: StreamSpec) -> Sequence[dg.AssetChecksDefinition]:
    """The stream's checks on its output asset."""

    @dg.asset_check(asset=spec.output, name="lag", description=f"{spec.name} is alive and keeps up with its topic.")
    def lag() -> dg.AssetCheckResult:
        settings = get_settings()
        lease = Leases(settings.postgres).read().get(spec.name)
        if lease is None:
            return dg.AssetCheckResult(passed=False, description="The stream has never run; switch its sensor on.")
        if lease.problem is not None:
            return dg.AssetCheckResult(passed=False, description=lease.problem)
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
        description=f"Records read = rows + dead letters, for each partition of the topic, of the last {RECENT_HOURS} hours: none "
        "missing, none twice. The accounting of the topic has the hours before.",
    )
    def accounting() -> dg.AssetCheckResult:
        settings = get_settings()
        try:
            per_partition = recent_accounts(spec, settings)
        except TopicChanged as problem:
            return dg.AssetCheckResult(passed=False, description=str(problem))
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
                                "missing": account.missing, "in_flight": account.in_flight,
                                "exact": account.exact,
                            }
                        )
                        for account in per_partition
                    ]
                ),
            },
        )  # fmt: skip

    @dg.asset_check(
        asset=spec.output,
        name="retention",
        description=f"{spec.name} reads its records long before the topic's retention takes them.",
    )
    def retention() -> dg.AssetCheckResult:
        settings = get_settings()
        read_to = committed_offsets(spec.checkpoint(settings), spec.topic.name)
        marks = offset_ranges(settings.kafka, spec.topic.name)
        unread = {number: (read_to.get(number, low), high) for number, (low, high) in marks.items()}
        lost = sum(max(0, low - unread[number][0]) for number, (low, _) in marks.items())
        limit = retention_seconds(settings.kafka, spec.topic.name)
        held = {number: (max(first, marks[number][0]), end) for number, (first, end) in unread.items()}
        oldest = oldest_timestamp(settings.kafka, spec.topic.name, held)
        age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
        passed = not lost and (limit is None or age < RETENTION_ALARM * limit)
        return dg.AssetCheckResult(
            passed=passed,
            description=None
            if passed
            else f"Start the stream, or raise the topic's retention.ms: {lost} offsets are lost already.",
            metadata={
                "oldest_unread_hours": round(age / 3600, 2),
                "retention_hours": "for ever" if limit is None else round(limit / 3600, 1),
                "records_lost": lost,
            },
        )

    @dg.asset_check(
        asset=spec.output,
        name="broker_time",
        description=f"Topic {spec.topic.name} keeps the broker's time of each record, not the producer's.",
    )
    def broker_time() -> dg.AssetCheckResult:
        servers = get_settings().kafka
        found = topic_settings(servers, spec.topic.name)
        problem = broker_time_problem(spec.topic.name, found, servers)
        return dg.AssetCheckResult(
            passed=problem is None,
            description=problem,
            metadata={"message.timestamp.type": found.get("message.timestamp.type", "unknown")},
        )

    return [lag, accounting, retention, broker_time] if spec.sink.table else [lag, retention, broker_time]
