"""Rows that repeat an event: a client's retry. The marts count each event once."""

from __future__ import annotations

from datetime import timedelta

import pyarrow.compute as pc

from shop_streams.lake import reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import REPEAT_HORIZON, Ranges, inside_of


def duplicates(table: Table, settings: Settings, ranges: Ranges) -> int:
    """The number of rows in `ranges` that repeat an event of an earlier offset, up to `REPEAT_HORIZON` before its day."""
    known_table = reader.open_table(table.uri(settings))
    if not table.identity or known_table is None or table.identity not in dict(reader.schema(known_table)):
        return 0  # a table of an earlier version gets its `identity` column at the stream's next start
    columns, day = ["kafka_partition", "kafka_offset", table.identity], table.partition_by[0]
    has_id = pc.is_valid(pc.field(table.identity))
    inside = reader.scan(table.uri(settings), [*columns, day], inside_of(ranges) & has_id)
    if inside.num_rows == 0:
        return 0
    days = pc.unique(inside[day]).to_pylist()
    week = sorted({one - timedelta(days=number) for one in days for number in range(REPEAT_HORIZON.days + 1)})
    before = {number: (0, low) for number, (low, _) in ranges.items()}
    earlier = reader.scan(table.uri(settings), columns, inside_of(before) & has_id & pc.field(day).isin(week))
    known = pc.is_in(inside[table.identity], value_set=pc.unique(earlier[table.identity]))
    new = inside.filter(pc.invert(known))
    return int(inside.num_rows - pc.count_distinct(new[table.identity]).as_py())
