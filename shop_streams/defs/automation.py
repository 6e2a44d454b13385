"""Marts that repair themselves: a sensor compares row counts and recomputes exactly the partitions that differ.

Level-triggered: each row of a mart carries `source_rows`, the number of source rows that its partition was
computed from. Streamed tables only grow, so that number is a version. Comparing the two Delta logs finds
whatever is out of date, however it became so; there is nothing to remember and nothing to lose.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from shop_streams.settings import Settings, get_settings

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
MART_TAG = "shop_streams/mart"


@dataclass(frozen=True)
class Mart:
    """A partitioned asset and how to tell, without a JVM, which of its partitions are out of date.

    `current` gives the source's rows for each partition key, `recorded` those that each partition was computed
    from. A key for which `live(key, now)` holds still receives its ordinary traffic; it is recomputed at most
    every `settings.mart_refresh_seconds`, or not before it closes where `wait_until_closed`.
    """

    asset: dg.AssetsDefinition
    current: Callable[[Settings], dict[str, int]]
    recorded: Callable[[Settings], dict[str, int]]
    live: Callable[[str, float], bool]
    wait_until_closed: bool = False


@dataclass(frozen=True)
class Plan:
    """Partitions to recompute now, those that wait, and the comparison in words."""

    partitions: list[str]
    waiting: list[str]
    why: str


def plan(
    current: Mapping[str, int],
    recorded: Mapping[str, int],
    is_live: Callable[[str], bool],
    may_refresh_live: bool,
    known: Callable[[str], bool] = lambda _key: True,
) -> Plan:
    """Compare the source's row counts with those recorded; `may_refresh_live` lets live partitions through."""
    differing = sorted(key for key, rows in current.items() if rows != recorded.get(key, 0) and known(key))
    waiting = [key for key in differing if is_live(key) and not may_refresh_live]
    due = [key for key in differing if key not in waiting]
    shown = ", ".join(f"{key}: {recorded.get(key, 0)} -> {current[key]} rows" for key in differing[:5])
    more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
    why = f"compared {len(current)} partitions: {len(differing)} differ" + (f" ({shown}{more})" if differing else "")
    if waiting:
        why += f"; {len(waiting)} still live, waiting"
    return Plan(due, waiting, why)


def contiguous(keys: Sequence[str], ordered: Sequence[str]) -> list[tuple[str, str]]:
    """The (first, last) of each unbroken range of `keys` within `ordered`, so that one run can take a range."""
    position = {key: index for index, key in enumerate(ordered)}
    ranges: list[tuple[str, str]] = []
    for key in sorted(keys, key=position.__getitem__):
        if ranges and position[key] == position[ranges[-1][1]] + 1:
            ranges[-1] = (ranges[-1][0], key)
        else:
            ranges.append((key, key))
    return ranges


def _busy(instance: dg.DagsterInstance, asset: dg.AssetKey, statuses: Iterable[dg.DagsterRunStatus]) -> int:
    name = asset.to_user_string()
    return len(instance.get_run_records(dg.RunsFilter(tags={MART_TAG: name}, statuses=list(statuses))))


def build_repair_sensor(mart: Mart) -> dg.SensorDefinition:
    """The mart's switch: on, its partitions follow their source; off, only a person recomputes them."""
    key = mart.asset.key
    name = "_".join(key.path)
    partitions = mart.asset.partitions_def
    assert partitions is not None

    @dg.sensor(
        name=f"repair_{name}",
        asset_selection=[key],
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Recomputes exactly those partitions of {key.to_user_string()} whose source has other rows than they "
        "were computed from. Each tick says what it compared.",
    )
    def repair(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        settings = get_settings()
        now = time.time()
        running = _busy(context.instance, key, (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED,
                                                dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED))  # fmt: skip
        if running:
            return dg.SensorResult(skip_reason=dg.SkipReason(f"{running} runs of this mart are under way"))
        keys = partitions.get_partition_keys()
        known = set(keys)
        last_live = float(context.cursor or 0)
        may_refresh = not mart.wait_until_closed and now - last_live >= settings.mart_refresh_seconds
        todo = plan(
            mart.current(settings),
            mart.recorded(settings),
            lambda k: mart.live(k, now),
            may_refresh,
            known.__contains__,
        )
        if not todo.partitions:
            return dg.SensorResult(skip_reason=dg.SkipReason(todo.why))
        context.log.info(todo.why)
        refreshed_live = any(mart.live(k, now) for k in todo.partitions)
        requests = [
            dg.RunRequest(
                asset_selection=[key],
                tags={RANGE_START: first, RANGE_END: last, MART_TAG: key.to_user_string()},
            )
            for first, last in contiguous(todo.partitions, keys)
        ]
        return dg.SensorResult(run_requests=requests, cursor=str(now) if refreshed_live else context.cursor)

    return repair
