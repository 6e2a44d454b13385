"""Dead letters of the tests of drafts and replays."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from shop_streams.settings import Settings
from shop_streams.streaming.drafts import Letter
from shop_streams.streaming.letters import ALL, Letters
from shop_streams_tests.streaming.letter_table import SCHEMA

ROWS = 2_000  # of a file of `many`
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DOMAINS = ("app_events", "promotions", "sales")


def letter(
    offset: int, raw: bytes | None = b"v", reason: str = "item_price is missing", domain: str = "sales", **more: Any
) -> Letter:
    return {
        "domain": domain, "topic": f"topic_{domain}", "kafka_partition": 0, "kafka_offset": offset, "raw": raw,
        "reason": reason, "at": datetime.now(UTC), "key": None, "headers": None, **more,
    }  # fmt: skip


def find(settings: Settings, domain: str | None = None) -> list[Letter]:
    """The dead letters of one domain or of all domains, oldest first."""
    return Letters.of(settings).read(pc.field("domain") == domain if domain else ALL)


def stored(folder: Path, letters: Sequence[Letter]) -> Letters:
    """The letters in a new table in the folder."""
    write_deltalake(folder, pa.Table.from_pylist(list(letters), SCHEMA), partition_by=["domain"])
    return Letters(DeltaTable(folder))


def many(folder: Path, files: int) -> Letters:
    """So many files of `ROWS` letters, the oldest first. Each has a reason of its own, and a value of 100 bytes."""
    for file in range(files):
        offsets = range(file * ROWS, (file + 1) * ROWS)
        rows = {
            "topic": pa.array(["t"] * ROWS), "kafka_partition": pa.array([0] * ROWS, pa.int32()),
            "kafka_offset": pa.array(offsets), "raw": pa.array([b"v" * 100] * ROWS),
            "reason": pa.array([f"{one:0200}" for one in offsets]),
            "at": pa.array([FIRST + timedelta(seconds=one) for one in offsets], pa.timestamp("us", "UTC")),
        }  # fmt: skip
        write_deltalake(folder, pa.table(rows), mode="append")
    return Letters(DeltaTable(folder))
