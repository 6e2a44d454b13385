"""The positions that events without coordinates may take: each user's last one before their date."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shop_streams.defs.community.facts import POSITION, Known, is_position, known_history, month_of
from shop_streams.defs.community.schema import EVENTS
from shop_streams.lake.reader import Lake


@dataclass(frozen=True)
class LastPositions:
    """The last positions before a date. In a run, they go on from those of the group of dates before.

    The months' facts are computed after the events. A long load of events would read all earlier dates for each group, if it did
    not keep what it knows: one row a user, in Spark, in memory or on its disk.

    Attributes:
        kept: address of the events -> what this process knows.
    """

    kept: dict[str, Known] = field(default_factory=dict, compare=False, repr=False)

    def before(self, spark: SparkSession, lake: Lake, day: date) -> Known:
        """The last positions of all dates before `day`, of the newest events."""
        uri = EVENTS.uri(lake.settings)
        # If Spark has lost the rows, this attempt fails, and the next one reads the history.
        earlier = self.kept.pop(uri, None)
        if earlier and (earlier.before > day or earlier.rows.sparkSession is not spark):
            earlier = None
        found = known_history(spark, lake, day, ["position"], earlier)
        month = month_of(day.isoformat())
        if not earlier and not any(read < month for read in found.read):
            return found  # the months' facts are up to date
        rows = found.rows.localCheckpoint(True, StorageLevel.MEMORY_AND_DISK)
        self.kept[uri] = Known(day, rows, found.versions, found.read)
        return self.kept[uri]

    def of(self, spark: SparkSession, lake: Lake, dates: Collection[date]) -> DataFrame:
        """The positions that events of these dates may take: the last one before them, and those of dates between them.

        `dates` are computed together; positions on these dates themselves are not in the result.
        """
        first, last = min(dates), max(dates)
        before = self.before(spark, lake, first).rows
        between = {first + timedelta(days=number) for number in range((last - first).days)} - set(dates)
        snapshot = lake.version(EVENTS)
        if snapshot is None or not between:
            return before
        rows = EVENTS.read(spark, lake.settings, snapshot).where(is_position() & F.col("event_date").isin(*between))
        last_ones = rows.groupBy("user_id", "event_date").agg(F.max(F.struct(*POSITION)).alias("last"))
        found = last_ones.select(
            F.lit("position").alias("kind"), "user_id", F.lit(None).cast("bigint").alias("other"), "last.*"
        )
        return before.unionByName(found)
