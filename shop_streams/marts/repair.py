"""The repair sensor of a mart: it compares source versions and recomputes exactly the partitions that differ.

It compares states (level-triggered) and keeps none itself, so it needs no event: any partition that differs is found.
The decisions are pure functions.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import dagster as dg

from shop_streams.beats import ProcessBeats
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts.compare import due_now
from shop_streams.marts.spec import Mart, SourceMissing
from shop_streams.runs import UNFINISHED, backoff_seconds, is_gone, mark_failed
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming.priority import streams_first_now
from shop_streams.streaming.switch import SENSOR_TAG

TICK_SECONDS = 15
MAX_RUNTIME_SECONDS = 3600  # Dagster's run monitoring ends a mart's run after this
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
RERUN_TAG = "dagster/parent_run_id"  # Dagster's tag on a run that repeats another one
# Dagster's UI hides tags with this prefix. Visible, they made each row of the list of runs four lines high.
MART_TAG = ".dagster/shop_streams_mart"
PROCESS_TAG = ".dagster/shop_streams_process"
INITIAL_LOAD_TAG = (
    ".dagster/shop_streams_load"  # with the mart's name behind it: on a run of a job that loads this mart
)
FAILED_PARTITIONS_TAG = ".dagster/shop_streams_failed_partitions"  # on a run in which only some partitions failed


# -- whether a run may be requested ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MartRun:
    """A run of the mart: its status, its process, and seconds since its end (None while unfinished).

    `partial`: only some partitions failed, and each of them backs off.
    """

    run_id: str
    status: str
    process: str | None = None
    ended: float | None = None
    partial: bool = False


@dataclass(frozen=True)
class Readiness:
    """Why no run may be requested now, or None; and the runs whose process is gone, to be marked as failed."""

    wait: str | None
    dead: tuple[str, ...] = ()


def readiness(runs: Sequence[MartRun], gone: Callable[[str], bool]) -> Readiness:
    """Decide by the mart's runs, newest first: one run at a time, and a backoff after failed runs in a row."""
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
    since = abs(runs[0].ended or 0.0) if runs else 0.0  # negative: of before a clock was set back
    if failures and since < pause:
        wait = f"backing off: {failures} failures in a row, {pause - since:.0f} of {pause:.0f} s to wait"
        return Readiness(wait, dead)
    return Readiness(None, dead)


def _runs(instance: dg.DagsterInstance, mart: Mart) -> list[MartRun]:
    """The mart's runs, newest first; before them the unfinished runs of a job that loads it."""
    now = time.time()
    loads = dg.RunsFilter(tags={f"{INITIAL_LOAD_TAG}_{mart.name}": "yes"}, statuses=UNFINISHED)
    own = dg.RunsFilter(tags={MART_TAG: mart.name})
    records = [*instance.get_run_records(loads, limit=5), *instance.get_run_records(own, limit=20)]
    return [
        MartRun(
            record.dagster_run.run_id,
            record.dagster_run.status.value,
            record.dagster_run.tags.get(PROCESS_TAG),
            now - record.end_time if record.end_time else None,
            FAILED_PARTITIONS_TAG in record.dagster_run.tags,
        )
        for record in {record.dagster_run.run_id: record for record in records}.values()
    ]


# -- the sensor --------------------------------------------------------------------------------------------------------


def request(mart: Mart, due: Sequence[str]) -> dg.RunRequest:
    """One run for all due partitions (ascending): its range is the first contiguous one, its config lists the others.

    With a range over gaps, Dagster would plan the partitions in the gaps too, and show them as failed if the run fails. Without
    a range, Dagster could not map the run to the source's partitions.
    """
    first = mart.partitions.subset_with_partition_keys(due).get_partition_key_ranges(mart.partitions)[0]
    also = list(due[due.index(first.end) + 1 :])
    return dg.RunRequest(
        job_name=mart.name,
        tags={
            MART_TAG: mart.name,
            "dagster/max_runtime": str(MAX_RUNTIME_SECONDS),
            RANGE_START: first.start,
            RANGE_END: first.end,
        },
        run_config={"ops": {asset_key(mart.table).to_python_identifier(): {"config": {"also": also}}}},
    )


def tick_seconds(settings: Settings) -> int:
    """Seconds between two comparisons: `mart_repair_seconds`, at most 15."""
    return min(TICK_SECONDS, max(1, round(settings.mart_repair_seconds)))


def is_repair(run: dg.DagsterRun, mart: Mart) -> bool:
    """Whether the mart's sensor requested the run. A person who runs it again keeps its tags, and wants a computation."""
    return run.tags.get(SENSOR_TAG) == mart.sensor and RERUN_TAG not in run.tags


def build_repair_sensor(mart: Mart) -> dg.SensorDefinition:
    """The mart's repair sensor. While it is off, only a person recomputes partitions."""

    @dg.sensor(
        name=mart.sensor,
        job_name=mart.name,
        minimum_interval_seconds=tick_seconds(get_settings()),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Recomputes exactly the partitions of {mart.table.path} whose source has changed since they were computed. "
        "Each tick says what it compared. While the sensor is off, only a person recomputes partitions.",
    )
    def repair(context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake]) -> dg.SensorResult:
        settings, instance, now = lake.settings, context.instance, time.time()
        gone = partial(is_gone, silent_for=ProcessBeats(settings.postgres).silent_for)
        ready = readiness(_runs(instance, mart), gone)
        for run_id in ready.dead:
            mark_failed(instance, run_id, f"marked as failed by {mart.sensor}: its process is gone")
        wait = ready.wait or streams_first_now(context, settings)
        if wait:
            return dg.SensorResult(skip_reason=dg.SkipReason(wait))
        try:
            if wait := mart.waits(lake, instance):
                return dg.SensorResult(skip_reason=dg.SkipReason(wait))
            todo = due_now(mart, lake, instance, now)
        except SourceMissing as error:
            return dg.SensorResult(skip_reason=dg.SkipReason(str(error)))
        if not todo.partitions:
            return dg.SensorResult(skip_reason=dg.SkipReason(todo.why))
        context.log.info(todo.why)
        newest = todo.partitions[-mart.run_partitions :]  # all for 0
        return dg.SensorResult(run_requests=[request(mart, newest)])

    return repair
