"""The checks of every stream. The stream's run evaluates them (run_checks.py), and a schedule while the stream rests."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import dagster as dg
from confluent_kafka import KafkaException

from shop_streams.errors import ShopStreamsError
from shop_streams.runs import UNFINISHED, created_at
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import RECENT_HOURS, recent_account
from shop_streams.streaming.condition import Condition, Unread, behind, condition, read_unread
from shop_streams.streaming.elsewhere import held_elsewhere
from shop_streams.streaming.lease import Lease, Leases
from shop_streams.streaming.patience import DATABASE_ERRORS
from shop_streams.streaming.spec import StreamSpec, stream_key
from shop_streams.streaming.switch import LOCATION, keep_alive_name, location_of, switched_off
from shop_streams.topics import broker_time_problem, retention_seconds, topic_settings

RETENTION_ALARM = 0.5  # of the retention time
SELDOM_SECONDS = 900.0  # between two evaluations of a check that changes slowly or reads the lake


@dataclass(frozen=True)
class Look:
    """One observation of a stream. Its checks share one read of the topic."""

    spec: StreamSpec
    settings: Settings
    instance: dg.DagsterInstance
    ask_kafka: bool = True
    location: str = LOCATION  # the code location whose switches count

    @cached_property
    def _answer(self) -> Unread | Exception:
        if not self.ask_kafka:
            return ShopStreamsError("Kafka was not asked.")
        try:
            return read_unread(self.spec, self.settings)
        except (KafkaException, ShopStreamsError) as problem:
            return problem

    @property
    def unread(self) -> Unread:
        """The records of the topic that the stream has not committed.

        Raises:
            KafkaException, ShopStreamsError: the topic or the checkpoint can't be read.
        """
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def condition(self) -> Condition:
        """The stream's condition, also while Kafka does not answer."""
        lease = Leases(self.settings.postgres).read().get(self.spec.name)
        elsewhere = held_elsewhere(lease, self.settings.lease_seconds, self.settings.home)
        if elsewhere:
            return Condition(elsewhere, alive=False)
        on = keep_alive_name(self.spec.name) not in switched_off(self.instance, self.location)
        unread = self._answer if isinstance(self._answer, Unread) else None
        return condition(lease, self.settings.lease_seconds, on, unread, self._starting(lease))

    def _starting(self, lease: Lease | None) -> float | None:
        """Seconds since the request of a run that does not hold the lease yet; None without one."""
        if lease is not None and lease.fresh(self.settings.lease_seconds):
            return None
        unfinished = dg.RunsFilter(job_name=f"{self.spec.name}_stream", statuses=UNFINISHED)
        return min(
            (
                time.time() - created_at(self.instance, record)
                for record in self.instance.get_run_records(unfinished)
                if lease is None or record.dagster_run.run_id != lease.run_id
            ),
            default=None,
        )


def alive_result(found: Condition) -> dg.AssetCheckResult:
    """The result of `alive`: a warning only if a person switched the stream off."""
    severity = dg.AssetCheckSeverity.ERROR if found.wanted else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(passed=found.alive, description=found.says, severity=severity)


def alive(look: Look) -> dg.AssetCheckResult:
    """The stream runs or starts."""
    return alive_result(look.condition())


def lag(look: Look) -> dg.AssetCheckResult:
    """The oldest unread record is younger than the limit, and the number of unread records is within the limit.

    Records that an open transaction keeps from being read are unread, too.
    """
    unread, settings = look.unread, look.settings
    most = settings.lag_alarm_offsets
    return dg.AssetCheckResult(
        passed=unread.oldest <= settings.lag_alarm_seconds and (not most or unread.records <= most),
        description=behind(unread, settings.kafka),
        metadata={
            "lag_seconds": round(unread.oldest, 1),
            "allowed_lag_seconds": settings.lag_alarm_seconds,
            "consumer_lag": unread.records,
            "held_by_transactions": unread.held,
        }
        | ({"allowed_lag": most} if most else {}),
    )


def retention(look: Look) -> dg.AssetCheckResult:
    """The oldest unread record is younger than half of the topic's retention."""
    unread = look.unread
    limit = retention_seconds(look.settings.kafka, look.spec.topic.name)
    passed = not unread.lost and (limit is None or unread.oldest < RETENTION_ALARM * limit)
    return dg.AssetCheckResult(
        passed=passed,
        description=None
        if passed
        else f"Start the stream, or raise the topic's retention.ms. {unread.lost} offsets are already lost.",
        metadata={
            "oldest_unread_hours": round(unread.oldest / 3600, 2),
            "retention_hours": "unlimited" if limit is None else round(limit / 3600, 1),
            "records_lost": unread.lost,
        },
    )


def accounting(look: Look) -> dg.AssetCheckResult:
    """Records read = rows + dead letters + forgotten records, for each partition of the topic."""
    account = recent_account(look.spec, look.settings)
    fields = ("partition", "low", "high", "rows", "dead_letters", "forgotten", "missing", "in_flight", "exact")
    table = [dg.TableRecord({name: getattr(one, name) for name in fields}) for one in account.partitions]
    return dg.AssetCheckResult(
        passed=account.exact,
        description=account.problem,
        metadata={**account.sums, "partitions": dg.MetadataValue.table(table)},
    )


def broker_time(look: Look) -> dg.AssetCheckResult:
    """The topic keeps the broker's time of each record."""
    servers, topic = look.settings.kafka, look.spec.topic.name
    found = topic_settings(servers, topic)
    problem = broker_time_problem(topic, found, servers)
    return dg.AssetCheckResult(
        passed=problem is None,
        description=problem,
        metadata={"message.timestamp.type": found.get("message.timestamp.type", "unknown")},
    )


@dataclass(frozen=True)
class StreamCheck:
    """A check of a stream. The stream's run evaluates it with each report, but at most every `every` seconds."""

    key: dg.AssetCheckKey
    description: str
    look: Callable[[Look], dg.AssetCheckResult]
    every: float = 0.0

    def result(self, look: Look) -> dg.AssetCheckResult:
        """The result; an error of the check, except PostgreSQL's, is a failure with a description."""
        try:
            return self.look(look)
        except DATABASE_ERRORS:
            raise
        except Exception as problem:  # a check that can't look must not stop the stream
            name = "" if isinstance(problem, (KafkaException, ShopStreamsError)) else f"{type(problem).__name__}: "
            return dg.AssetCheckResult(passed=False, description=f"{name}{problem}")


def alive_key(spec: StreamSpec) -> dg.AssetCheckKey:
    """The key of the check `alive`."""
    return dg.AssetCheckKey(stream_key(spec), "alive")


def stream_checks(spec: StreamSpec) -> list[StreamCheck]:
    """`alive` on the stream's asset, the other checks on its output; `accounting` only for tables."""
    output, topic = spec.output, spec.topic.name
    found = [
        StreamCheck(alive_key(spec), f"{spec.name} runs or starts; the description says its condition.", alive),
        StreamCheck(
            dg.AssetCheckKey(output, "lag"),
            f"The oldest record of {topic} that {spec.name} has not read is younger than LAG_ALARM_SECONDS.",
            lag,
        ),
        StreamCheck(
            dg.AssetCheckKey(output, "retention"),
            f"{spec.name} reads its records long before the topic's retention deletes them.",
            retention,
            SELDOM_SECONDS,
        ),
        StreamCheck(
            dg.AssetCheckKey(output, "broker_time"),
            f"Topic {topic} keeps the broker's time of each record, not the producer's.",
            broker_time,
            SELDOM_SECONDS,
        ),
        StreamCheck(
            dg.AssetCheckKey(output, "accounting"),
            f"Records read = rows + dead letters + forgotten, for each partition of the topic, of the last {RECENT_HOURS} hours: none "
            "missing, none twice. The topic's account has the earlier hours.",
            accounting,
            SELDOM_SECONDS,
        ),
    ]
    return found if spec.sink.table else found[:-1]


def build_check(spec: StreamSpec, check: StreamCheck) -> dg.AssetChecksDefinition:
    """The check as Dagster's schedule or a person runs it."""

    @dg.asset_check(asset=check.key.asset_key, name=check.key.name, description=check.description)
    def evaluate(context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        return check.result(Look(spec, settings, context.instance, location=location_of(context.run)))

    return evaluate


def build_checks(spec: StreamSpec) -> list[dg.AssetChecksDefinition]:
    """The checks of the stream's assets."""
    return [build_check(spec, check) for check in stream_checks(spec)]


def evaluation(key: dg.AssetCheckKey, result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """The result as an event, to log it outside a run of the check.

    It has the time of the evaluation, because Dagster shows the time of a run's first result.
    """
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.passed,
        metadata={**result.metadata, "evaluated_at": dg.MetadataValue.timestamp(time.time())},
        severity=result.severity,
        description=result.description,
    )
