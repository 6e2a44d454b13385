"""What passes through memory when a large table is read batch by batch."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from shop_streams.lake import bounded


@dataclass
class Passing:
    """The batches of `bounded.rows`: columns and rows of each, the bytes of all, and the most bytes of Arrow that were in use."""

    batches: list[tuple[list[str], int]] = field(default_factory=list)
    bytes: int = 0
    peak: int = 0

    def rows(self, column: str) -> int:
        """The number of rows that came with this column."""
        return sum(rows for columns, rows in self.batches if column in columns)


def watch(monkeypatch: pytest.MonkeyPatch) -> Passing:
    """What passes from now on."""
    passing, rows, before = Passing(), bounded.rows, pa.total_allocated_bytes()

    def watched(*given: Any, **options: Any) -> pa.RecordBatchReader:
        reader = rows(*given, **options)

        def batches() -> Any:
            for batch in reader:
                passing.batches.append((batch.schema.names, batch.num_rows))
                passing.bytes += batch.nbytes
                passing.peak = max(passing.peak, pa.total_allocated_bytes() - before)
                yield batch

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    monkeypatch.setattr(bounded, "rows", watched)
    return passing
