"""The dead letters, of which there may be more than fit into memory: questions about all of them, and the chosen ones.

Junk at 1,000 records a second makes 10 million letters in three hours, and they are kept for months.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from shop_streams.lake import bounded, reader
from shop_streams.streaming.dead_letters import DEAD_LETTERS

if TYPE_CHECKING:
    from shop_streams.settings import Settings
    from shop_streams.streaming.drafts import Letter

ORDER = ("at", "topic", "kafka_partition", "kafka_offset", "file", "line")
ROUNDING = timedelta(seconds=1)  # Spark rounds the times in the log's statistics
ALL = pc.scalar(True)


@dataclass(frozen=True)
class Letters:
    """The letters in one version of their table; none if there is no table.

    `where` is a pyarrow expression of the table's columns, and `origin` as `drafts.origin_of`.
    """

    table: DeltaTable | None

    @classmethod
    def of(cls, settings: Settings) -> Letters:
        """The letters that there are now."""
        return cls(reader.open_table(DEAD_LETTERS.uri(settings)))

    @cached_property
    def names(self) -> list[str]:
        """The columns of the table on disk. One of an earlier version gets new ones with its next letter."""
        there = dict(reader.schema(self.table)) if self.table is not None else {}
        return [column.name for column in DEAD_LETTERS.columns if column.name in there]

    @property
    def origin(self) -> pc.Expression:
        """The origin of a letter."""

        def joined(*names: str) -> pc.Expression:
            return pc.binary_join_element_wise(*[pc.field(name).cast(pa.string()) for name in names], ":")

        of_record = joined("topic", "kafka_partition", "kafka_offset")
        if "file" not in self.names:
            return of_record
        return pc.coalesce(of_record, joined("file", "line"), pc.field("file"))

    def among(self, origins: Collection[str]) -> pc.Expression:
        """The letters with these origins."""
        return self.origin.isin(pa.array(sorted(origins), pa.string()))

    def ask(self, query: str, columns: Sequence[str], where: pc.Expression = ALL) -> list[tuple[Any, ...]]:
        """The answer to a query in SQL of `letters`, which has these columns; [] if there is no table. `at` is in UTC.

        The letters pass through DuckDB's limited memory. Only the answer is held by Python.
        """
        if self.table is None:
            return []
        # DuckDB gives times with a zone in that of the machine.
        computed = {"origin": self.origin, "at": pc.field("at").cast(pa.timestamp("us"))}
        chosen = {name: computed.get(name, pc.field(name)) for name in columns}
        with bounded.database() as database:
            database.register("letters", bounded.rows(self.table, chosen, where))
            return database.execute(query).fetchall()

    @property
    def total(self) -> int:
        """The number of all letters, from the log."""
        actions = reader.file_actions(self.table)
        return sum(actions["num_records"].to_pylist()) if actions.num_rows else 0

    def count(self, where: pc.Expression) -> int:
        """The number of these letters."""
        return sum(number for (number,) in self.ask("select count(*) from letters", ["at"], where))

    def read(self, where: pc.Expression) -> list[Letter]:
        """The letters with their values, oldest first. All of them are held in memory."""
        if self.table is None:
            return []
        order = [(name, "ascending") for name in ORDER if name in self.names]
        rows = bounded.rows(self.table, self.names, where).read_all().sort_by(order).to_pylist()
        return [dict.fromkeys(column.name for column in DEAD_LETTERS.columns) | row for row in rows]

    def oldest(self, most: int, where: pc.Expression) -> list[Letter]:
        """As `read`, the first `most` of these letters. Values of others are not kept."""
        order = [name for name in ORDER if name in self.names]
        by = ", ".join(f'"{name}"' for name in order)  # `at` is a word of DuckDB's SQL
        found = self.ask(f'select origin, "at" from letters order by {by} limit {most}', ["origin", *order], where)
        if not found:
            return []
        origins, times = zip(*found, strict=True)
        # The log's statistics tell which files have letters of that time, and no others are opened.
        first, last = (
            pa.scalar(time, pa.timestamp("us", "UTC")) for time in (min(times) - ROUNDING, max(times) + ROUNDING)
        )
        at = pc.field("at")
        return self.read(where & self.among(origins) & (at >= first) & (at <= last))[:most]
