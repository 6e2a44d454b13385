"""Rows that repeat an event: a client's retry. The marts count each event once."""

from __future__ import annotations

from datetime import timedelta

import pyarrow.compute as pc

from shop_streams.lake import bounded, earlier_ids, reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import REPEAT_HORIZON
from shop_streams.streaming.ranges import Ranges, inside_of


def duplicates(table: Table, settings: Settings, ranges: Ranges, shift: int = 0) -> int:
    """The number of rows in `ranges` that repeat an event of an earlier offset, up to `REPEAT_HORIZON` before its day.

    A week of ids does not fit into memory, so they are read batch by batch. Only the ids in `ranges` are kept.
    `shift` as `checkpoint.partition_shift`.
    """
    identity, known = table.identity, reader.open_table(table.uri(settings))
    if not identity or known is None or identity not in dict(reader.schema(known)):
        return 0  # a table of an earlier version gets its `identity` column at the stream's next start
    has_id, day = pc.is_valid(pc.field(identity)), table.partition_by[0]
    lowest = min((low for low, _ in ranges.values()), default=0)
    files = earlier_ids.files_before(known, "kafka_offset", lowest)
    others = files.others
    if not others.num_rows:
        return 0
    paths, recent = others["path"].to_pylist(), {str(one) for one in others[f"partition.{day}"].to_pylist()}
    with bounded.database() as database:
        columns = earlier_ids.id_and_hash(known, identity) | {"day": pc.field(day)}
        inside = bounded.rows(known, columns, inside_of(ranges, shift) & has_id, [(day, "in", sorted(recent))], paths)
        database.register("found", inside)
        database.execute("create table inside as select id, hash, day, count(*) as rows from found group by all")
        days = [one for (one,) in database.execute("select distinct day from inside").fetchall()]
        if not days:
            return 0
        week = sorted({str(one - timedelta(days=number)) for one in days for number in range(REPEAT_HORIZON.days + 1)})
        before = inside_of({number: (0, low) for number, (low, _) in ranges.items()}, shift)
        week_only: reader.Prune = [(day, "in", week)]
        row = database.execute("select sum(rows) from inside").fetchone()
        assert row is not None
        # A repeat is each row of an id but the first, or each one if the id came earlier.
        return int(row[0]) - earlier_ids.count_new(
            database, known, table.uri(settings), identity, week_only, files, before & has_id
        )
