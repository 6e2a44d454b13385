"""The hourly account of each topic: how many records it holds, and how many of them are rows, dead letters or in flight."""

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.kafka import count_with_header, offsets_at
from shop_streams.lake.asset import asset_key
from shop_streams.marts.repair import RANGE_END, RANGE_START
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming.accounting import topic_account
from shop_streams.streaming.checkpoint import partition_shift
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.priority import streams_first_now
from shop_streams.streaming.ranges import Ranges
from shop_streams.streaming.repeats import duplicates
from shop_streams.streaming.spec import StreamSpec, accounting_key
from shop_streams.topics import VIA_COLLECTOR

LOOK_BACK_HOURS = 24
FIRST_DAY = max(get_settings().first_day, date(2026, 1, 1))  # no topic is older than the project

# Hours of the broker's time. `end_offset=1` includes the running hour.
topic_hours = dg.HourlyPartitionsDefinition(start_date=f"{FIRST_DAY}-00:00", end_offset=1)


def hour_account(spec: StreamSpec, settings: Settings, ranges: Ranges, ended: bool = True) -> dict[str, Any]:
    """The account of the offset ranges, as asset metadata; `exact` is true when the numbers add up.

    Duplicates are counted once the hour has `ended`: to find them, a week of ids is read.
    """
    account = topic_account(spec, settings, ranges)
    assert spec.sink.table is not None
    shift = partition_shift(spec.checkpoint(settings))
    return {
        "accepted_by_collector": count_with_header(settings.kafka, spec.topic.name, ranges, VIA_COLLECTOR),
        **account.sums,
        **({"duplicates": duplicates(spec.sink.table, settings, ranges, shift)} if ended else {}),
        "exact": account.exact,
    }


def hour_ranges(spec: StreamSpec, settings: Settings, hours: Sequence[str]) -> dict[str, Ranges]:
    """For each hour, the offset ranges of the records that the broker received in it, by partition number."""
    windows = [topic_hours.time_window_for_partition_key(hour) for hour in hours]
    moments = [moment.timestamp() for window in windows for moment in (window.start, window.end)]
    offsets = offsets_at(settings.kafka, spec.topic.name, moments)
    return {
        hour: {number: (first, offsets[2 * index + 1][number]) for number, first in offsets[2 * index].items()}
        for index, hour in enumerate(hours)
    }


def build_accounting(spec: StreamSpec) -> dg.AssetsDefinition:
    """The topic's account as an asset with a check."""
    key = accounting_key(spec.topic)

    @dg.asset(
        key=key,
        deps=[spec.output, asset_key(DEAD_LETTERS)],
        partitions_def=topic_hours,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="operations",
        kinds={"kafka", "deltalake"},
        owners=["team:data-platform"],
        description=f"One row of the plots is one hour of the topic {spec.topic.name}: records = rows + dead letters + forgotten + in flight. "
        "Duplicates are rows whose event_id had arrived before; marts count them once. They are counted when the hour has ended.",
        check_specs=[
            dg.AssetCheckSpec(
                "sum_is_exact", asset=key, description="records = rows + dead letters + forgotten + in flight"
            )
        ],
    )
    def account(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
        wrong = []
        for hour, ranges in hour_ranges(spec, settings, context.partition_keys).items():
            ended = topic_hours.time_window_for_partition_key(hour).end.timestamp() <= time.time()
            numbers = hour_account(spec, settings, ranges, ended)
            context.add_asset_metadata(numbers, partition_key=hour)
            if not numbers["exact"]:
                wrong.append(f"{hour}: {numbers}")
        check = dg.AssetCheckResult(
            check_name="sum_is_exact",
            passed=not wrong,
            description="; ".join(wrong[:3]) or None,
            metadata={"hours": len(context.partition_keys), "hours_wrong": len(wrong)},
        )
        return dg.MaterializeResult(check_results=[check])

    return account


accounts_job = dg.define_asset_job(
    "account_topics",
    selection=[accounting_key(spec.topic) for spec in LAKE_STREAMS],
    description="Computes the hourly accounts of all topics in one run. A process for each topic would take CPU time from the streams.",
)


@dg.schedule(
    name="account_topics_every_ten_minutes",
    job=accounts_job,
    cron_schedule="5,15,25,35,45,55 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Computes the account of the running hour, and of each of the last {LOOK_BACK_HOURS} hours that has no final account yet.",
)
def account_topics(context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]) -> Any:
    wait = streams_first_now(context, settings)
    if wait:
        return dg.SkipReason(wait)
    hours = topic_hours.get_partition_keys(datetime.fromtimestamp(time.time(), UTC))[-1 - LOOK_BACK_HOURS :]
    busy: set[str] = set()
    due: set[str] = set()
    for spec in LAKE_STREAMS:
        ranges_by_hour = hour_ranges(spec, settings, hours)
        with_records = {
            hour for hour, ranges in ranges_by_hour.items() if any(end > first for first, end in ranges.values())
        }
        busy |= with_records
        due |= with_records - settled(context.instance, accounting_key(spec.topic), with_records)
    if not due:
        return dg.SkipReason(f"{len(busy)} of the last {len(hours)} hours hold records; all are accounted for")
    ranges = topic_hours.subset_with_partition_keys(due).get_partition_key_ranges(topic_hours)
    return [dg.RunRequest(tags={RANGE_START: one.start, RANGE_END: one.end}) for one in ranges]


def settled(instance: dg.DagsterInstance, key: dg.AssetKey, hours: set[str]) -> set[str]:
    """The hours that have a final account: made after the hour's end, exact, with nothing in flight."""
    if not hours:
        return set()
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=sorted(hours)), limit=20 * len(hours)
    ).records
    newest: dict[str, dict[str, Any]] = {}
    for record in records:  # newest first
        event = record.asset_materialization
        if event is not None and event.partition is not None:
            numbers = {name: value.value for name, value in event.metadata.items()}
            ended = record.timestamp >= topic_hours.time_window_for_partition_key(event.partition).end.timestamp()
            newest.setdefault(event.partition, numbers | {"ended": ended})
    return {
        hour
        for hour, numbers in newest.items()
        if numbers["ended"] and numbers.get("exact") and not numbers.get("in_flight")
    }


definitions = dg.Definitions(
    assets=[build_accounting(spec) for spec in LAKE_STREAMS], jobs=[accounts_job], schedules=[account_topics]
)
