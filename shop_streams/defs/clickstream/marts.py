"""The statistics of items: half hours, computed while they run, and again when late clicks reach them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shop_streams.defs.clickstream.click_files import ClickFiles
from shop_streams.defs.clickstream.partitions import HALF_HOUR_FORMAT, half_hours, window_of
from shop_streams.defs.clickstream.schema import CLICKS, ITEM_STATS
from shop_streams.defs.clickstream.serving import SERVED
from shop_streams.defs.clickstream.sessions import item_stats, read_since
from shop_streams.defs.clickstream.versions import State, between, day_of, steps
from shop_streams.lake.reader import Lake
from shop_streams.marts.sources import LakeSource
from shop_streams.marts.spec import Computation, Mart, SourceUnfinished
from shop_streams.marts.states import SourceStates
from shop_streams.marts.version import rows_of

STATE_FORMAT = 1  # raise it with each change of versions.py or visits.py that changes a version
PATIENCE_SECONDS = 30.0  # Dagster ends a sensor's tick after 60
HOUR = 3_600_000_000  # microseconds


def key_of(half: int) -> str:
    """The partition key of a half hour, from its number since 1970."""
    return datetime.fromtimestamp(half * 1800, UTC).strftime(HALF_HOUR_FORMAT)


def state_from(saved: Any, basis: str) -> State:
    """The saved state, or an empty one if it has another basis or can't be read: it is a cache."""
    try:
        state = TypeAdapter(State).validate_python(saved)
    except ValidationError:
        return State(basis)
    rows = Counter[str]()
    for half, version in state.versions.items():
        rows[day_of(half)] += rows_of(version)
    return state if state.basis == basis and rows == state.days else State(basis)


@dataclass(frozen=True)
class ClickSource(LakeSource):
    """The table of clicks. A half hour reads its own clicks, and those before it of its sessions.

    `mart` is the path of the mart's table.
    """

    mart: str = ITEM_STATS.path

    def versions(self, lake: Lake, snapshot: int) -> dict[str, int]:
        states = SourceStates(lake.settings.postgres, self.mart)
        hours = lake.settings.session_hours
        files, began = ClickFiles(lake, self.table), time.monotonic()
        basis = f"{files.at(snapshot).metadata().id} {hours} {STATE_FORMAT}"
        old = state_from(states.load(), basis)
        if old.commit is None or old.commit != lake.commit_checksum(self.table, old.snapshot):
            old = State(basis)  # the table was restored, or its log no longer has the commit
        days, new = lake.row_counts(self.table, snapshot), old
        commit = lake.commit_checksum(self.table, snapshot)
        for new in steps(old, days, files, snapshot, hours * HOUR):
            states.save(asdict(replace(new, commit=commit)))
            if not new.whole and len(new.days) > len(old.days) and time.monotonic() - began > PATIENCE_SECONDS:
                done = f"{len(new.days)} of {len(days)} days"
                raise SourceUnfinished(
                    f"{self.table.path}: reading its history, {done} are read. The next tick goes on."
                )
        return {key_of(half): version for half, version in new.versions.items()}

    def read(self, spark: SparkSession, lake: Lake, computation: Computation) -> DataFrame:
        start, end = window_of(computation.key)
        since = read_since(start, lake.settings.session_hours)
        # Days are folders. The range of session ids skips files by their statistics: an id begins with a time.
        days = F.col("clicked_on").between(since.date(), start.date())
        at, session = F.col("clicked_at"), F.col("session_id")
        wanted = (at >= start) | (session.isNull() & F.col("identity").isNotNull())
        first, last = round(start.timestamp()) * 1_000_000, round(end.timestamp()) * 1_000_000
        mine = ClickFiles(lake, self.table).open(computation.snapshot, first, last)
        ids = pc.min_max(mine.to_table(columns=["session_id"], filter=between(first, last))["session_id"]).as_py()
        if ids["min"] is not None:
            wanted |= session.between(ids["min"], ids["max"])
        clicks = super().read(spark, lake, computation)
        return clicks.where(days & (at >= since) & (at < end)).where(wanted)


def partition_rows(clicks: DataFrame, computation: Computation) -> DataFrame:
    """The rows of one half hour."""
    start, end = window_of(computation.key)
    stats = item_stats(clicks, start, end, computation.settings.session_hours)
    return (
        stats.withColumn("half_hour", F.lit(computation.key))
        .coalesce(1)
        .sortWithinPartitions(F.desc("views"), "shop", "item_id")
    )


def half_hour_totals(lake: Lake, key: str) -> dict[str, float]:
    """The half hour's totals, which the UI plots over the partitions."""
    names = ["views", "orders", "order_sum"]
    rows = lake.scan(ITEM_STATS, [*names, "deep"], keys=[key])
    totals = {name: pc.sum(rows[name]).as_py() or 0 for name in names}
    weighted = (
        pc.sum(pc.multiply(rows["deep"], pc.cast(rows["views"], pa.float64()))).as_py() if rows.num_rows else None
    )
    mean = {"mean_depth": weighted / totals["views"]} if totals["views"] and weighted is not None else {}
    return {**totals, **mean}


MART = Mart(
    table=ITEM_STATS,
    source=ClickSource(CLICKS),
    partitions=half_hours,
    rows=partition_rows,
    run_partitions=96,
    totals=half_hour_totals,
    serve=SERVED,
)
