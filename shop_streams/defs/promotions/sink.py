"""The stream's batches: campaigns go to PostgreSQL, where their notifications are made, and to the lake.

A batch is small and must be fast. So Spark validates and collects it, and this code writes it: a Spark job for a few
rows would take longer than all the rest. Spark's worker imports this file: no Dagster here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
from pyspark.sql import DataFrame

from shop_streams.defs.promotions import notifications, tables
from shop_streams.defs.promotions.notifications import CAMPAIGN_COLUMNS, ORIGIN_COLUMNS
from shop_streams.defs.promotions.schema import CAMPAIGNS
from shop_streams.defs.promotions.transforms import project, validate
from shop_streams.lake.table import Table
from shop_streams.lake.write import append_small_batch, is_committed
from shop_streams.streaming.batch_letters import BatchLetters
from shop_streams.streaming.dead_letters import DEAD_LETTERS

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.streaming.readwriter import DataStreamWriter

    from shop_streams.settings import Settings
    from shop_streams.streaming.spec import StreamContext
    from shop_streams.topics import Topic

DOMAIN = "promotions"


@dataclass(frozen=True)
class CampaignSink:
    """A good record becomes a campaign with its notifications and a row of the lake, a refused one a dead letter."""

    table: Table = CAMPAIGNS
    output_topic: Topic | None = None

    def prepare(self, context: StreamContext) -> None:
        tables.create_tables(context.settings.postgres)
        self.table.create(context.spark, context.settings)
        DEAD_LETTERS.create(context.spark, context.settings)

    def writer(self, records: DataFrame, context: StreamContext) -> DataStreamWriter:
        batches = CampaignBatches(
            dsn=context.settings.postgres,
            first_day=context.settings.first_day.isoformat(),
            letters=BatchLetters.of(DOMAIN, self.table, context),
        )
        return records.writeStream.foreachBatch(batches.write)

    def validated(self, records: DataFrame, settings: Settings) -> DataFrame:
        """The records with `reason`."""
        return validate(records, settings.first_day.isoformat())

    def attempt(self, records: DataFrame, context: StreamContext) -> None:
        collected = project(self.validated(records, context.settings)).toArrow()
        notifications.try_campaigns(context.settings.postgres, campaigns_of(collected))


def accepted(collected: pa.Table) -> pa.Table:
    """The rows of a collected batch that no rule refused, without `reason`."""
    return collected.filter(pc.is_null(collected["reason"])).drop_columns("reason")


def campaigns_of(collected: pa.Table) -> list[tuple[Any, ...]]:
    """The accepted campaigns of a collected batch, in the form that `notifications.write_campaigns` needs."""
    wanted = accepted(collected).select([*CAMPAIGN_COLUMNS, "datetime_created", *ORIGIN_COLUMNS])
    return [tuple(row.values()) for row in wanted.to_pylist()]


@dataclass(frozen=True)
class CampaignBatches:
    """The writer of batches in Spark's worker. Its fields are plain values, since Spark pickles them.

    `first`: the first batch that this query has begun, once it has. Only this one can be one that an earlier query has written,
    so only it is looked for in the lake before it goes to PostgreSQL.
    """

    dsn: str
    first_day: str
    letters: BatchLetters
    first: list[int] = field(default_factory=list)

    def write(self, records: DataFrame, batch_id: int) -> None:
        """Write one batch: PostgreSQL first, because clients wait for it, then the lake. Both writes are idempotent."""
        rows_uri, writer_id = self.letters.rows_uri, self.letters.writer_id
        if not self.first:
            self.first.append(batch_id)
        if self.first == [batch_id] and is_committed(rows_uri, writer_id, batch_id):
            self.letters.append_repeated(records, self._validated, batch_id)
            return
        validated = self._validated(records)
        collected = project(validated).toArrow()
        if not collected.num_rows:
            return
        campaigns = accepted(collected)
        if campaigns.num_rows:
            notifications.write_campaigns(self.dsn, campaigns_of(collected))
        # Also without campaigns: a batch that has letters must be found to be committed when it is repeated.
        if not append_small_batch(campaigns, rows_uri, writer_id, batch_id):
            self.letters.append_repeated(records, self._validated, batch_id)
        elif campaigns.num_rows < collected.num_rows:
            self.letters.append(validated.where("reason is not null"), batch_id)

    def _validated(self, records: DataFrame) -> DataFrame:
        return validate(records, self.first_day)
