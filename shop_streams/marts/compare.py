"""Which partitions of a mart differ from its source, and which of them are due: for sensors and for the initial load."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

import dagster as dg

from shop_streams.lake.forget import STALE
from shop_streams.lake.reader import Lake
from shop_streams.marts.failures import MartFailures
from shop_streams.marts.history import Computed, computed_empty, recent_writes
from shop_streams.marts.serve import NOT_SERVED, agreed
from shop_streams.marts.spec import LOOK_BACK_SECONDS, Mart, SourceMissing
from shop_streams.marts.version import rows_of


@dataclass(frozen=True)
class Comparison:
    """A mart's partitions at one moment.

    Attributes:
        current: partition -> source version now.
        recorded: partition -> source version that it was computed from, empty partitions included.
        depths: partition -> depth that it was computed with, if it reads a window.
    """

    current: Mapping[str, int]
    recorded: Mapping[str, int]
    depths: Mapping[str, int] = field(default_factory=dict)

    def differing(self, exists: Callable[[str], bool]) -> list[str]:
        """The partitions that differ, ascending. A missing one has version 0."""
        keys = self.current.keys() | self.recorded.keys()
        return sorted(k for k in keys if self.current.get(k, 0) != self.recorded.get(k, 0) and exists(k))


def compare(mart: Mart, lake: Lake, instance: dg.DagsterInstance, snapshot: int | None = None) -> Comparison:
    """Compare a mart with its source, now or at the source's `snapshot`.

    Raises:
        SourceMissing: the source does not exist yet.
    """
    depths = mart.depths(lake)
    current = mart.versions(lake, snapshot, depths)
    in_lake = lake.source_versions(mart.table)
    served = mart.serve.versions(lake.settings.postgres) if mart.serve else None
    unseen = current.keys() - in_lake.keys()
    if served is not None:
        unseen &= served.keys()  # a partition that is not in PostgreSQL either was not computed
    empty = computed_empty(instance, mart, unseen)
    in_lake |= {key: found.version for key, found in empty.items()}
    if more := _depths_of(empty):
        depths |= more
        if mart.windowed and set(more.values()) != {mart.windowed.depth(lake.settings)}:
            current = mart.versions(lake, snapshot, depths)
    return Comparison(current, in_lake if served is None else agreed(in_lake, served), depths)


def recorded_depths(mart: Mart, lake: Lake, instance: dg.DagsterInstance, keys: Set[str]) -> dict[str, int]:
    """Partition -> depth that it was computed with, also of those of `keys` that have no rows."""
    in_lake = mart.depths(lake)
    return in_lake | _depths_of(computed_empty(instance, mart, keys - in_lake.keys())) if mart.windowed else {}


def _depths_of(empty: Mapping[str, Computed]) -> dict[str, int]:
    return {key: found.depth for key, found in empty.items() if found.depth is not None}


def due_now(mart: Mart, lake: Lake, instance: dg.DagsterInstance, now: float) -> Plan:
    """What is to be computed at `now` (epoch seconds).

    Raises:
        SourceMissing: the source does not exist yet.
    """
    settings = lake.settings
    found = compare(mart, lake, instance)
    look_back = max(LOOK_BACK_SECONDS, settings.mart_refresh_seconds, settings.mart_repair_seconds)
    writes = cache(lambda: recent_writes(instance, mart, now - look_back))  # read only if something differs
    return plan(
        found.current,
        found.recorded,
        lambda key: mart.pause(settings, key, writes().get(key, []), now),
        known(mart.partitions),
        MartFailures(settings.postgres, mart.name).pauses(),
    )


def unsettled(*marts: Mart) -> Callable[[Lake, dg.DagsterInstance], str | None]:
    """For `Mart.waits`: a mart waits while one of `marts`, which it reads, has partitions that are due.

    Otherwise it would be computed for each of their runs. Partitions that back off or were just computed are not waited for:
    a date that can't be computed, or changes all the time, must not hold up all others.
    """

    def waits(lake: Lake, instance: dg.DagsterInstance) -> str | None:
        for mart in marts:
            try:
                due = due_now(mart, lake, instance, time.time()).partitions
            except SourceMissing as error:
                return str(error)
            if due:
                return f"waiting: {len(due)} partitions of {mart.table.path} are still to be computed, {due[0]} first"
        return None

    return waits


# -- decisions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The partitions to recompute now, the partitions that wait, and the comparison in words."""

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
    """Compare the `current` source versions with the ones that the mart's partitions were computed from (`recorded`).

    `pause` and `failed` (for partitions that could not be computed) give the seconds that a partition has to wait. A missing
    partition has version 0, so a partition that vanished from the source is recomputed to no rows.
    """
    keys = current.keys() | recorded.keys()
    differing = Comparison(current, recorded).differing(exists)
    pauses = {key: pause(key) for key in differing}
    backing_off = [key for key in differing if failed.get(key, 0.0) > 0]
    live = [key for key in differing if key not in backing_off and pauses[key] > 0]
    waiting = sorted([*live, *backing_off])
    due = [key for key in differing if key not in waiting]
    shown = _shown(differing, lambda key: f"{key}: {difference(recorded.get(key, 0), current.get(key, 0))}")
    why = f"compared {len(keys)} partitions: {len(differing)} differ" + (f" ({shown})" if differing else "")
    if live:
        nearest = min(pauses[key] for key in live)
        why += f"; {len(live)} still live or just computed, the next is due in {nearest:.0f} s"
    if backing_off:
        shown = _shown(backing_off, lambda key: f"{key} for {failed[key]:.0f} s")
        why += f"; could not be computed and back off: {shown}"
    return Plan(due, waiting, why)


def _shown(keys: Sequence[str], words: Callable[[str], str]) -> str:
    return ", ".join(map(words, keys[:5])) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def difference(recorded: int, current: int) -> str:
    """The difference between two versions of a partition, in words."""
    if recorded == NOT_SERVED:
        return "PostgreSQL and the lake have different versions"
    if recorded == STALE:
        return f"a person's rows were removed, {rows_of(current)} rows are left"
    before, now = rows_of(recorded), rows_of(current)
    return (
        f"{before} -> {now} rows" if before != now else f"{now} rows, but its code or other data that it reads changed"
    )


def known(partitions: dg.TimeWindowPartitionsDefinition) -> Callable[[str], bool]:
    """A function that tells whether Dagster has a partition by now. `has_partition_key` is slow."""
    first, last = partitions.get_first_partition_window(), partitions.get_last_partition_window()
    if first is None or last is None:
        return lambda _key: False
    return lambda key: first.start <= partitions.time_window_for_partition_key(key).start <= last.start
