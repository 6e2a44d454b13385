"""Replays in the lake: which letters were sent again, beside the dead letters themselves.

The ledger in PostgreSQL and this table are brought together whenever the ledger is opened. So a letter stays replayed if one of
the two is restored from an older backup.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from shop_streams.lake import reader
from shop_streams.lake.table import Column, Table
from shop_streams.lake.write import append_rows

if TYPE_CHECKING:
    from shop_streams.settings import Settings

REPLAYED = Table(
    path="replayed_letters",
    columns=(
        Column("topic", "string", "the letter's topic"),
        Column("origin", "string", "topic:partition:offset of the letter"),
        Column("landed", "string", "topic:partition:offset of the record that was sent for it; null if unknown"),
    ),
    partition_by=("topic",),
    rows_are="One row is one dead letter that was sent again, and the origin of its new record.",
)
_SCHEMA = pa.schema([(column.name, pa.string()) for column in REPLAYED.columns])


class Sent(Protocol):
    """The part of the ledger that is needed here."""

    def landings(self) -> dict[str, str | None]:
        """Origin of a letter that was sent -> origin of its record, if known."""
        ...

    def restore(self, origin: str, landed: str | None) -> None:
        """Note a letter as sent, of which the ledger may know nothing."""
        ...


def bring_together(settings: Settings, ledger: Sent) -> None:
    """Give the ledger the letters that only the lake knows as sent, and the lake those that only the ledger knows."""
    in_lake = replayed(settings)
    known = ledger.landings()
    for origin in in_lake.keys() - known.keys():
        ledger.restore(origin, in_lake[origin])
    append(settings, {origin: known[origin] for origin in known.keys() - in_lake.keys()})


def replayed(settings: Settings) -> dict[str, str | None]:
    """Origin of a letter that was sent -> origin of its record, if known; from the lake."""
    rows = reader.scan(REPLAYED.uri(settings), ["origin", "landed"]).to_pylist()
    return {row["origin"]: row["landed"] for row in rows}


def append(settings: Settings, landings: Mapping[str, str | None]) -> None:
    """Append rows to `REPLAYED`; nothing for no letter."""
    if landings:
        rows = [{"topic": one.rsplit(":", 2)[0], "origin": one, "landed": at} for one, at in landings.items()]
        append_rows(pa.Table.from_pylist(rows, _SCHEMA), REPLAYED, settings)
