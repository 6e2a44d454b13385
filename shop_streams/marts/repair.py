"""Marts that repair themselves: a sensor compares row counts and recomputes exactly the partitions that differ.

Level-triggered: what is out of date is found by comparing two Delta logs, however it became so. There is nothing
to remember and nothing to lose. The decisions are pure functions; the sensor is a thin shell around them.
"""

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import dagster as dg

from shop_streams.beats import ProcessBeats
from shop_streams.lake.asset import asset_key
from shop_streams.marts.failures import MartFailures
from shop_streams.marts.metadata import ROW_COUNT
from shop_streams.marts.spec import (
    FAILED_PARTITIONS_TAG,
    MART_TAG,
    MAX_RUNTIME_SECONDS,
    PROCESS_TAG,
    Mart,
    build_asset,
    build_repair_job,
)
from shop_streams.runs import UNFINISHED, backoff_seconds, is_gone, mark_failed
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming.priority import streams_first_now

TICK_SECONDS = 15
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
MAX_RANGES = 3  # up to so many unbroken ranges are backfilled as ranges; more go into one run with a list


# -- what differs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """Partitions to recompute now, those that wait, and the comparison in words."""

    partitions: list[str]
    waiting: list[str]
    why: str


def plan(
    current: Mapping[str, int],
    recorded: Mapping[str, int],
    pause: Callable[[str], float],
    exists: Callable[[str], bool] = lambda _key: True,
    failed: Mapping[str, float] = MappingProxyType({}),
) -> Plan:
    """Compare the source's row counts with those recorded; a partition with a `pause`, in seconds, waits.

    `failed` gives the seconds that partitions which could not be computed have to wait: each by itself.
    """
    differing = sorted(key for key, rows in current.items() if rows != recorded.get(key, 0) and exists(key))
    pauses = {key: pause(key) for key in differing}
    backing_off = [key for key in differing if failed.get(key, 0.0) > 0]
    live = [key for key in differing if key not in backing_off and pauses[key] > 0]
    waiting = sorted([*live, *backing_off])
    due = [key for key in differing if key not in waiting]
    shown = ", ".join(f"{key}: {recorded.get(key, 0)} -> {current[key]} rows" for key in differing[:5])
    more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
    why = f"compared {len(current)} partitions: {len(differing)} differ" + (f" ({shown}{more})" if differing else "")
    if live:
        nearest = min(pauses[key] for key in live)
        why += f"; {len(live)} still live or just computed, the next is due in {nearest:.0f} s"
    if backing_off:
        told = ", ".join(f"{key} for {failed[key]:.0f} s" for key in backing_off[:5])
        more = f" and {len(backing_off) - 5} more" if len(backing_off) > 5 else ""
        why += f"; could not be computed and back off: {told}{more}"
    return Plan(due, waiting, why)


def known(partitions: dg.TimeWindowPartitionsDefinition) -> Callable[[str], bool]:
    """Whether Dagster has a partition by now. Its own `has_partition_key`, and the list of all keys, take long."""
    first, last = partitions.get_first_partition_window(), partitions.get_last_partition_window()
    if first is None or last is None:
        return lambda _key: False
    return lambda key: first.start <= partitions.time_window_for_partition_key(key).start <= last.start


def contiguous(keys: Sequence[str], partitions: dg.TimeWindowPartitionsDefinition) -> list[tuple[str, str]]:
    """The (first, last) of each unbroken range of `keys`, so that one run can take a range."""
    windows = {key: partitions.time_window_for_partition_key(key) for key in keys}
    ranges: list[tuple[str, str]] = []
    for key in sorted(keys, key=lambda key: windows[key].start):
        if ranges and windows[key].start == windows[ranges[-1][1]].end:
            ranges[-1] = (ranges[-1][0], key)
        else:
            ranges.append((key, key))
    return ranges


# -- whether a run may be asked for ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MartRun:
    """A run of the mart: its status, the process that it claimed, and seconds since it ended (None while it has not).

    `partial`: it failed for some partitions only, which back off by themselves.
    """

    run_id: str
    status: str
    process: str | None = None
    ended: float | None = None
    partial: bool = False


@dataclass(frozen=True)
class Readiness:
    """Why no run may be asked for now, or None; and runs whose process is gone, to be marked as failed."""

    wait: str | None
    dead: tuple[str, ...] = ()


def readiness(runs: Sequence[MartRun], gone: Callable[[str], bool]) -> Readiness:
    """Look at the mart's runs, newest first. A run of its own waits for the one before; failures in a row back off."""
    unfinished = {status.value for status in UNFINISHED}
    dead = tuple(run.run_id for run in runs if run.status in unfinished and run.process and gone(run.process))
    busy = [run for run in runs if run.status in unfinished and run.run_id not in dead]
    if busy:
        return Readiness(f"run {busy[0].run_id[:8]} of this mart is {busy[0].status}", dead)
    failures = 0
    for run in runs:
        if run.run_id not in dead and (run.partial or run.status != dg.DagsterRunStatus.FAILURE.value):
            break
        failures += 1
    pause = backoff_seconds(failures)
    since = runs[0].ended or 0.0 if runs else 0.0
    if failures and since < pause:
        return Readiness(
            f"backing off: {failures} failures in a row, {pause - since:.0f} of {pause:.0f} s to wait", dead
        )
    return Readiness(None, dead)


def _runs(instance: dg.DagsterInstance, mart: Mart) -> list[MartRun]:
    now = time.time()
    return [
        MartRun(
            record.dagster_run.run_id,
            record.dagster_run.status.value,
            record.dagster_run.tags.get(PROCESS_TAG),
            now - record.end_time if record.end_time else None,
            FAILED_PARTITIONS_TAG in record.dagster_run.tags,
        )
        for record in instance.get_run_records(dg.RunsFilter(tags={MART_TAG: mart.name}), limit=20)
    ]


def computed_empty(instance: dg.DagsterInstance, mart: Mart, keys: Set[str]) -> dict[str, int]:
    """Those of `keys` that were computed and have no row, such as a window of nothing but repeats: source rows of each.

    They leave no file behind that could tell, but Dagster's record of them does.
    """
    found: dict[str, int] = {}
    for key in sorted(keys & instance.get_materialized_partitions(asset_key(mart.table))):
        wanted = dg.AssetRecordsFilter(asset_key(mart.table), asset_partitions=[key])
        for record in instance.fetch_materializations(wanted, limit=1).records:
            metadata = record.asset_materialization.metadata if record.asset_materialization else {}
            if "source_rows" in metadata and metadata[ROW_COUNT].value == 0:
                found[key] = int(str(metadata["source_rows"].value))
    return found


# -- the sensor --------------------------------------------------------------------------------------------------------


def requests(mart: Mart, due: Sequence[str], repair_job: str) -> list[dg.RunRequest]:
    """Few runs for whatever is due: a run for each unbroken range, or one run with a list when there are many."""
    tags = {MART_TAG: mart.name, "dagster/max_runtime": str(MAX_RUNTIME_SECONDS)}
    ranges = contiguous(due, mart.partitions)
    if len(ranges) <= MAX_RANGES:
        return [
            dg.RunRequest(job_name=mart.name, tags=tags | {RANGE_START: first, RANGE_END: last})
            for first, last in ranges
        ]
    config = {"ops": {f"recompute_{mart.name}": {"config": {"partitions": list(due)}}}}
    return [dg.RunRequest(job_name=repair_job, run_config=config, tags=tags)]


def tick_seconds(settings: Settings) -> int:
    """Seconds from one comparison to the next: as often as a partition may be recomputed, and every 15 s at least."""
    return min(TICK_SECONDS, max(1, round(settings.mart_repair_seconds)))


def build_repair_sensor(mart: Mart, repair_job: dg.JobDefinition) -> dg.SensorDefinition:
    """The mart's switch: on, its partitions follow their source; off, only a person recomputes them."""
    asset_job = dg.define_asset_job(
        mart.name,
        selection=[asset_key(mart.table)],
        description=f"Recomputes a range of partitions of {mart.table.path}.",
    )

    @dg.sensor(
        name=f"repair_{mart.name}",
        jobs=[asset_job, repair_job],
        minimum_interval_seconds=tick_seconds(get_settings()),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Recomputes exactly those partitions of {mart.table.path} whose source has other rows than they were "
        "computed from. Each tick says what it compared. Switch it off, and only a person recomputes them.",
    )
    def repair(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        settings = get_settings()
        now = time.time()
        ready = readiness(
            _runs(context.instance, mart), partial(is_gone, silent_for=ProcessBeats(settings.postgres).silent_for)
        )
        for run_id in ready.dead:
            mark_failed(context.instance, run_id, f"marked as failed by repair_{mart.name}: its process is gone")
        wait = ready.wait or streams_first_now(context, settings)
        if wait:
            return dg.SensorResult(skip_reason=dg.SkipReason(wait))
        current, recorded, written = (
            mart.source_rows(settings, None),
            mart.recorded(settings),
            mart.written_at(settings),
        )
        todo = plan(
            current,
            recorded | computed_empty(context.instance, mart, current.keys() - recorded.keys()),
            lambda key: mart.pause(settings, key, written.get(key), now),
            known(mart.partitions),
            MartFailures(settings.postgres, mart.name).pauses(),
        )
        if not todo.partitions:
            return dg.SensorResult(skip_reason=dg.SkipReason(todo.why))
        context.log.info(todo.why)
        return dg.SensorResult(run_requests=requests(mart, todo.partitions, repair_job.name))

    return repair


def build_mart(mart: Mart, owners: Sequence[str]) -> dg.Definitions:
    """All definitions of one mart: the asset, the repair job and the sensor."""
    repair_job = build_repair_job(mart)
    return dg.Definitions(
        assets=[build_asset(mart, owners)],
        jobs=[repair_job],
        sensors=[build_repair_sensor(mart, repair_job)],
    )
