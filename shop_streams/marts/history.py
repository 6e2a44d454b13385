"""Facts about a mart's partitions that only Dagster's event log has."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import dagster as dg

from shop_streams.addresses import depth_days
from shop_streams.lake.asset import asset_key
from shop_streams.marts.metadata import ROW_COUNT, SECONDS, VERSION, VERSION_COLUMN
from shop_streams.marts.spec import DEPTH_COLUMN, Mart, Write

WRITES_LOOKED_AT = 1000
PARTITIONS_ASKED_FOR = 500


@dataclass(frozen=True)
class Computed:
    """What a partition was computed from: the source version, and the depth of its window, if it has one."""

    version: int
    depth: int | None = None


def computed_empty(instance: dg.DagsterInstance, mart: Mart, keys: Set[str]) -> dict[str, Computed]:
    """What those of `keys` were computed from that have no row (only repeated events, for example).

    An empty partition has no Delta file, so its version comes from Dagster's event log.
    """
    found: dict[str, Computed] = {}
    if not keys:
        return found
    unseen = keys
    if len(keys) > PARTITIONS_ASKED_FOR:
        # Not for a few, such as the live partition of each tick: of 150,000 materializations, the list takes 3.5 s.
        unseen = keys & instance.get_materialized_partitions(asset_key(mart.table))
    while unseen:
        # One query for many partitions: a shop without visitors at night gets some thousand empty half hours in a year.
        some = sorted(unseen)[:PARTITIONS_ASKED_FOR]
        wanted = dg.AssetRecordsFilter(asset_key(mart.table), asset_partitions=some)
        newest: dict[str, Mapping[str, Any]] = {}
        for record in instance.fetch_materializations(wanted, limit=WRITES_LOOKED_AT).records:
            done = record.asset_materialization
            newest.setdefault(str(record.partition_key), done.metadata if done else {})
        for key, metadata in newest.items():
            # Earlier versions of this code recorded the number of rows only.
            version = metadata.get(VERSION) or metadata.get(VERSION_COLUMN)
            if version is not None and metadata[ROW_COUNT].value == 0:
                depth = metadata.get(DEPTH_COLUMN)
                found[key] = Computed(int(str(version.value)), depth_days(depth.value) if depth else None)
        unseen = unseen - (newest.keys() or set(some))
    return found


def recent_writes(instance: dg.DagsterInstance, mart: Mart, since: float) -> dict[str, list[Write]]:
    """Partition -> its computations that ended after `since`, epoch seconds."""
    found: dict[str, list[Write]] = {}
    wanted = dg.AssetRecordsFilter(asset_key(mart.table), after_timestamp=since)
    for record in instance.fetch_materializations(wanted, limit=WRITES_LOOKED_AT).records:
        if record.partition_key is not None:
            done = record.asset_materialization
            took = done.metadata.get(SECONDS) if done else None
            seconds = float(str(took.value)) if took else 0.0
            found.setdefault(record.partition_key, []).append(Write(record.timestamp, seconds))
    return found
