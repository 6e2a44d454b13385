"""STG as the source of the events: what each date reads of it, and the version of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shop_streams.defs.community.cities_file import current_cities
from shop_streams.defs.community.refills import mark_refills, refills
from shop_streams.defs.community.schema import EVENTS, STG_EVENTS
from shop_streams.defs.community.versions import State, advance, event_versions, stg_reader
from shop_streams.lake.reader import Lake
from shop_streams.marts.sources import LakeSource
from shop_streams.marts.spec import Computation
from shop_streams.marts.states import SourceStates


def dates_of(keys: Sequence[str]) -> list[date]:
    """Partition keys as dates."""
    return [date.fromisoformat(key) for key in keys]


@dataclass(frozen=True)
class StgSource(LakeSource):
    """STG. A date of the events reads its rows from all folders, the cities, and positions of earlier dates.

    Attributes:
        known: addresses of the table and the database -> the state that this process has seen last.
    """

    known: dict[tuple[str, str], State] = field(default_factory=dict, compare=False, repr=False)

    def versions(self, lake: Lake, snapshot: int) -> Mapping[str, int]:
        cities, dsn = current_cities(lake.settings.community_geo), lake.settings.postgres
        return event_versions(self.state(lake, snapshot).dates, cities.digest, refills(dsn))

    def state(self, lake: Lake, snapshot: int) -> State:
        """What STG holds at the snapshot; only folders that have changed since the last call are read.

        The saved state is loaded only if the table has changed: with years of dates, it has megabytes.
        """
        dsn, uri = lake.settings.postgres, self.table.uri(lake.settings)
        folders, state = lake.fingerprints(self.table, snapshot), self.known.get((uri, dsn))
        if state is None or state.folders != folders:
            states = SourceStates(dsn, EVENTS.path)
            saved = State.from_json(states.load())
            state = advance(saved, folders, stg_reader(lake, snapshot))
            if state is not saved:
                states.save(state.to_json())
            self.known[uri, dsn] = state
        return state

    def read(self, spark: SparkSession, lake: Lake, computation: Computation) -> DataFrame:
        folders = self.state(lake, computation.snapshot).folders_of(computation.keys)
        of_dates = F.col("folder_date").isin(*dates_of(folders)) & F.col("event_date").isin(*dates_of(computation.keys))
        return super().read(spark, lake, computation).where(of_dates)

    def mark_later_dates(self, _spark: SparkSession, lake: Lake, computation: Computation) -> None:
        """Later dates that took positions from these dates are computed again, if these positions change."""
        folders = self.state(lake, computation.snapshot).folders_of(computation.keys)
        mark_refills(lake, lake.settings.postgres, computation.keys, folders, computation.snapshot)


INITIAL_LOAD = "community_initial_load"
# The lineage shows the folder of the same date, where nearly all rows of a date are. With all folders, which is the whole truth, a
# backfill of some dates in the UI would be one of all dates since 2015. Rows in other folders are found by their versions.
FROM_STG = StgSource(STG_EVENTS, missing=f"no date is loaded. Run the job {INITIAL_LOAD} once.")
