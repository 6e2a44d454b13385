"""Rows that repeat an event: a client's retry. The marts count each event once."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from shop_streams.lake import bounded, reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import REPEAT_HORIZON, Ranges, inside_of

# A repeat is each row of an id but the first, or each one if the id came earlier. DuckDB can write the hash tables of `distinct`
# and of a join to disk, but not those of `count(distinct …)`.
REPEATS = """
select coalesce(sum(rows), 0) - (select count(*) from (select distinct id from inside))
       + (select count(*) from (select distinct id from earlier semi join inside using (id)))
  from inside
"""


def duplicates(table: Table, settings: Settings, ranges: Ranges, shift: int = 0) -> int:
    """The number of rows in `ranges` that repeat an event of an earlier offset, up to `REPEAT_HORIZON` before its day.

    A week of ids does not fit into memory, so they are read batch by batch. Only the ids in `ranges` are kept.
    `shift` as `checkpoint.partition_shift`.
    """
    identity, known = table.identity, reader.open_table(table.uri(settings))
    if not identity or known is None or identity not in dict(reader.schema(known)):
        return 0  # a table of an earlier version gets its `identity` column at the stream's next start
    has_id, day = pc.is_valid(pc.field(identity)), table.partition_by[0]
    earlier, others, recent = files_by_offset(known, ranges, day)
    if not others:
        return 0
    with bounded.database() as database:
        inside = bounded.rows(known, [identity, day], inside_of(ranges, shift) & has_id, [(day, "in", recent)], others)
        database.register("found", inside)
        database.execute(
            f'create table inside as select "{identity}" as id, "{day}" as day, count(*) as rows from found group by all'
        )
        days = [one for (one,) in database.execute("select distinct day from inside").fetchall()]
        if not days:
            return 0
        week = sorted({one - timedelta(days=number) for one in days for number in range(REPEAT_HORIZON.days + 1)})
        prune: reader.Prune = [(day, "in", [str(one) for one in week])]
        before = inside_of({number: (0, low) for number, (low, _) in ranges.items()}, shift)
        database.register("all_of", bounded.rows(known, [identity], None, prune, earlier))
        database.register("some_of", bounded.rows(known, [identity], before & has_id, prune, others))
        database.execute(
            f'create view earlier as select "{identity}" as id from all_of union all select "{identity}" from some_of'
        )
        row = database.execute(REPEATS).fetchone()
        assert row is not None
        return int(row[0])


def files_by_offset(table: DeltaTable, ranges: Ranges, day: str) -> tuple[set[str], set[str], list[str]]:
    """The files that the Delta log knows to have only offsets before `ranges`; all others; and the partitions of these.

    Of the former, only the ids need to be read: almost all of a week.
    """
    actions = reader.file_actions(table)
    is_earlier = pa.chunked_array([pa.repeat(False, actions.num_rows)])
    if "max.kafka_offset" in actions.column_names:
        lowest = min(low for low, _ in ranges.values())
        is_earlier = pc.fill_null(pc.less(actions["max.kafka_offset"], lowest), False)
    others = actions.filter(pc.invert(is_earlier))
    recent = sorted({str(one) for one in others[f"partition.{day}"].to_pylist()})
    return set(actions.filter(is_earlier)["path"].to_pylist()), set(others["path"].to_pylist()), recent
