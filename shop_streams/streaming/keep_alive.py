"""The keep-alive sensor: the only part that starts a stream.

`decide` is the decision table, a pure function. The sensor reads the lease and the runs, marks dead runs as failed, and
explains each tick.
"""

import json
import time
from dataclasses import asdict, dataclass, replace

import dagster as dg

from shop_streams.runs import START_GRACE_SECONDS, UNFINISHED, backoff_seconds, created_at, end_later, mark_failed
from shop_streams.settings import Settings
from shop_streams.streaming.checks import alive_key, alive_result, evaluation
from shop_streams.streaming.condition import Condition, condition
from shop_streams.streaming.elsewhere import held_elsewhere
from shop_streams.streaming.lease import Lease, Leases
from shop_streams.streaming.rest import BEING_STOPPED, RestRequest
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.switch import keep_alive_name

TICK_SECONDS = 5
SOUND_SECONDS = 60.0
REPOSITORY_TAG = ".dagster/repository"  # Dagster's tag on runs


@dataclass(frozen=True)
class Run:
    """A run of the stream's job: seconds since its creation, and since its end (None while unfinished)."""

    run_id: str
    status: str
    age: float
    ended: float | None = None


@dataclass(frozen=True)
class CursorState:
    """The sensor's cursor: failed runs in a row (see `decide`), the last of them, and the number of requested runs."""

    failures: int = 0
    last_failed_run: str = ""
    requests: int = 0


@dataclass(frozen=True)
class Decision:
    """Start a run or skip; `why` explains it with numbers; `dead_runs` must be marked as failed."""

    start: bool
    why: str
    state: CursorState
    dead_runs: tuple[str, ...] = ()


def sound_seconds(failures: int, interval: float) -> float:
    """Seconds that a run must last to end a series of `failures`; the stream has a batch every `interval` seconds.

    At least 60 s, two intervals, and the backoff after one more failure.
    """
    return max(SOUND_SECONDS, 2 * interval, backoff_seconds(failures + 1))


def decide(
    lease: Lease | None,
    unfinished: list[Run],
    last_finished: Run | None,
    state: CursorState,
    ttl: float,
    interval: float = 0.0,
) -> Decision:
    """Decide whether to start a run, by the stream's lease, its job's runs and the cursor; times in seconds.

    A run is dead if it holds no fresh lease and has had enough time to acquire it, or to end after it released one. A
    series of failures ends when a run has finished a batch and lasted for `sound_seconds`, when a run ends without a failure, or
    when a recovery has held the lease since. A time far in the future, from before a clock was set back, is not waited for.
    """
    sound = sound_seconds(state.failures, interval)
    if lease is not None and lease.lag is not None and lease.ran_for >= sound:
        state = CursorState(0, state.last_failed_run, state.requests)
    if lease is not None and lease.fresh(ttl):
        lag = "unknown" if lease.lag is None else f"{lease.lag} offsets"
        return Decision(
            False,
            f"alive: run {lease.run_id[:8]} holds epoch {lease.epoch} for {lease.held_for:.0f} s, "
            f"beat {lease.beat_age:.1f} s ago (lease {ttl:.0f} s), lag {lag}",
            state,
        )
    unfinished_ids = {run.run_id for run in unfinished}
    if lease is not None and lease.released and lease.run_id in unfinished_ids and lease.beat_age < START_GRACE_SECONDS:
        return Decision(False, f"ending: run {lease.run_id[:8]} has released epoch {lease.epoch}", state)
    lost = {lease.run_id} if lease is not None and not lease.released else set()
    starting = [run for run in unfinished if run.run_id not in lost and abs(run.age) < START_GRACE_SECONDS]
    if starting:
        run = starting[0]
        return Decision(
            False,
            f"starting: run {run.run_id[:8]} is {run.status} since {run.age:.0f} s (grace {START_GRACE_SECONDS:.0f} s)",
            state,
        )
    dead = tuple(run.run_id for run in unfinished)
    failed_for = None
    if dead:
        state = CursorState(state.failures + 1, dead[0], state.requests)
        failed_for = 0.0
    elif last_finished is not None and _is_over(last_finished, lease):
        state = CursorState(0, last_finished.run_id, state.requests)
    elif last_finished is not None:
        failed_for = abs(last_finished.ended or 0.0)
        if last_finished.run_id != state.last_failed_run:
            state = CursorState(state.failures + 1, last_finished.run_id, state.requests)
    pause = backoff_seconds(state.failures)
    if failed_for is not None and failed_for < pause:
        return Decision(
            False,
            f"backing off: {state.failures} failures in a row, {pause - failed_for:.0f} of {pause:.0f} s to wait",
            state,
            dead,
        )
    state = CursorState(state.failures, state.last_failed_run, state.requests + 1)
    return Decision(True, f"starting: {_state_in_words(lease, ttl)}", state, dead)


def _is_over(last: Run, lease: Lease | None) -> bool:
    """Whether the newest run ended without a failure, or somebody else has held the lease since, and given it back."""
    recovered = (
        lease is not None and lease.released and lease.run_id != last.run_id and lease.beat_age < (last.ended or 0)
    )
    return last.status != dg.DagsterRunStatus.FAILURE.value or recovered


def _state_in_words(lease: Lease | None, ttl: float) -> str:
    if lease is None:
        return "the stream has never run"
    if lease.released:
        return f"run {lease.run_id[:8]} released epoch {lease.epoch}"
    return f"epoch {lease.epoch} of run {lease.run_id[:8]} is stale: beat {lease.beat_age:.0f} s ago, lease {ttl:.0f} s"


def stream_state(lease: Lease | None, ttl: float) -> str:
    """`running`, `resting`, `stale` or `backing_off`, for `shop-streams status`."""
    if lease is None:
        return "resting"
    if lease.fresh(ttl):
        return "running"
    pause = backoff_seconds(lease.failures)
    if lease.failures and lease.beat_age < pause + START_GRACE_SECONDS:  # later, the sensor must be off
        return "backing_off"
    return "resting" if lease.released else "stale"


def _runs(instance: dg.DagsterInstance, job: str, repository: str | None) -> tuple[list[Run], Run | None]:
    """The unfinished runs of the job, and its newest run if that is finished.

    `repository`: the label that Dagster gives to the runs of one repository of one code location; None for all runs.
    """
    now = time.time()

    def run(record: dg.RunRecord) -> Run:
        ended = now - record.end_time if record.end_time else None
        found = record.dagster_run
        return Run(found.run_id, found.status.value, now - created_at(instance, record), ended)

    tags = {REPOSITORY_TAG: repository} if repository else {}
    unfinished = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=UNFINISHED, tags=tags))
    newest = instance.get_run_records(dg.RunsFilter(job_name=job, tags=tags), limit=1)
    finished = run(newest[0]) if newest and newest[0].dagster_run.is_finished else None
    return [run(record) for record in unfinished], finished


def _repository(context: dg.SensorEvaluationContext) -> str | None:
    """The label of the sensor's repository. Another code location may have a job of the same name."""
    origin = context.code_location_origin
    return f"{context.repository_name}@{origin.location_name}" if origin and context.repository_name else None


def dead_stream(spec: StreamSpec, lease: Lease | None, decision: Decision, ttl: float) -> dg.AssetCheckEvaluation:
    """The failed check `alive` of a stream whose run has died or failed, reported before the next run starts."""
    found = Condition(decision.why, alive=False)
    if lease is not None:
        ended = replace(lease, failures=decision.state.failures)
        found = condition(ended, ttl, on=True, unread=None)
    return evaluation(alive_key(spec), alive_result(found))


def build_sensor(spec: StreamSpec, job: dg.JobDefinition) -> dg.SensorDefinition:
    """The stream's keep-alive sensor: on, the stream should run; off, it should rest."""

    @dg.sensor(
        name=keep_alive_name(spec.name),
        job=job,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Keeps {spec.name} running: requests a run if no run holds a fresh lease, and backs off after failures. "
            "Switch it off, and the stream stops at its next batch boundary and rests."
        ),
        tags={"shop_streams/stream": spec.name},
    )
    def keep_alive(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.SensorResult:
        if RestRequest.of(settings).made():
            return dg.SensorResult(skip_reason=dg.SkipReason(BEING_STOPPED), cursor=context.cursor)
        leases = Leases(settings.postgres)
        lease = leases.read().get(spec.name)
        if lease is not None and lease.in_the_future and leases.count_from_now(spec.name):
            lease = leases.read().get(spec.name)  # a living holder has a lease's time to beat
        state = CursorState(**json.loads(context.cursor)) if context.cursor else CursorState()
        alive = lease is not None and lease.fresh(settings.lease_seconds)
        # While the stream is alive, its runs need not be queried, which is slow.
        unfinished, finished = ([], None) if alive else _runs(context.instance, job.name, _repository(context))
        interval = spec.interval_seconds(settings)
        decision = decide(lease, unfinished, finished, state, settings.lease_seconds, interval)
        stale = lease if lease is not None and not lease.released and (decision.start or decision.dead_runs) else None
        if stale is not None and not leases.revoke(spec.name, stale.epoch, settings.lease_seconds):
            return dg.SensorResult(skip_reason=dg.SkipReason(f"epoch {stale.epoch} has just beaten again"))
        if stale is not None:  # it may hang
            end_later(stale.host, stale.pid, time.time() - stale.held_for)
        for run_id in decision.dead_runs:
            why = f"marked as failed by {keep_alive_name(spec.name)}: it holds no lease. {decision.why}"
            mark_failed(context.instance, run_id, why)
        if lease is not None and lease.failures != decision.state.failures:
            leases.record_failures(spec.name, decision.state.failures)
        if stale is not None or decision.state.failures > state.failures:
            context.instance.report_runless_asset_event(dead_stream(spec, lease, decision, settings.lease_seconds))
        cursor = json.dumps(asdict(decision.state))
        if not decision.start:
            why = held_elsewhere(lease, settings.lease_seconds, settings.home) or decision.why
            return dg.SensorResult(skip_reason=dg.SkipReason(why), cursor=cursor)
        context.log.info(decision.why)
        epoch = lease.epoch if lease else 0
        key = f"{spec.name}:{epoch}:{decision.state.requests}"
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key)], cursor=cursor)

    return keep_alive
