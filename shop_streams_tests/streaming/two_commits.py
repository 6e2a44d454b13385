"""Batches that are killed between their two commits, and repeated by other rules.

Spark's worker imports this file, within 10 s: no Dagster here.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.sales import transforms
from shop_streams.lake import reader
from shop_streams.streaming.batch_letters import REFUSED_BEFORE, BatchLetters

RECORDS = 4  # of a batch


@dataclass(frozen=True)
class Repeat:
    """The offsets (from 0) that the rules refuse at first, and when the batch is repeated."""

    first: Collection[int]
    second: Collection[int]


REPEATS = [
    Repeat({1, 3}, {1, 3}),
    Repeat({1, 3}, {0, 3}),
    Repeat({}, {0, 1, 2, 3}),
    Repeat({0, 1, 2, 3}, {}),
    Repeat({2}, {}),
    Repeat({}, {2}),
]


class Killed(Exception):
    """The stream's process ended here."""


class KilledLetters(BatchLetters):
    """The barrier: the process is killed after the rows' commit."""

    def append(self, refused: DataFrame, batch_id: int) -> None:
        raise Killed

    def append_repeated(self, *_: Any) -> None:
        raise Killed


def refusing(validated: DataFrame, offsets: Collection[int]) -> DataFrame:
    """Rules that refuse the records at these offsets, and accept the others."""
    reason = F.when(F.col("offset").isin(list(offsets)), "odd") if offsets else F.lit(None).cast("string")
    return validated.withColumn("reason", reason)


def odd_sales(records: DataFrame, first_day: str) -> DataFrame:
    """Rules of sales that refuse offsets 1 and 3."""
    return refusing(transforms.validate(records, first_day), {1, 3})


def first_sales(records: DataFrame, first_day: str) -> DataFrame:
    """Rules of sales that refuse offsets 0 and 1."""
    return refusing(transforms.validate(records, first_day), {0, 1})


def killed(letters: BatchLetters) -> BatchLetters:
    return KilledLetters(**vars(letters))


def check_repeats(write: Callable[..., None], letters: BatchLetters, batch: DataFrame, after: str) -> None:
    """Write each of `REPEATS` as a batch, end it `after` its "rows" or its "letters", and write it again.

    `write(refused offsets, letters, records, batch id)` writes like the stream after a new start.
    """
    assert batch.count() == RECORDS
    for number, repeat in enumerate(REPEATS):
        begin = 10 * number
        records = batch.withColumn("offset", F.col("offset") + begin)
        first, second = ({begin + offset for offset in some} for some in (repeat.first, repeat.second))
        if after == "rows" and first:
            with pytest.raises(Killed):
                write(first, killed(letters), records, number)
        else:
            write(first, letters, records, number)
        write(second, letters, records, number)
        found = range(begin, begin + RECORDS)
        assert rows_in(letters, found) == sorted(set(found) - first), repeat
        assert letters_in(letters, found) == sorted(first), repeat
        forgiven = letters_in(letters, found, REFUSED_BEFORE)
        assert forgiven == (sorted(first - second) if after == "rows" else []), repeat


def rows_in(letters: BatchLetters, offsets: range) -> list[int]:
    return _offsets(letters.rows_uri, offsets)


def letters_in(letters: BatchLetters, offsets: range, reason: str | None = None) -> list[int]:
    """The offsets among `offsets` that are letters, with this reason if one is given."""
    return _offsets(letters.uri, offsets, pc.field("reason") == reason if reason else None)


def _offsets(uri: str, offsets: range, where: pc.Expression | None = None) -> list[int]:
    offset = pc.field("kafka_offset")
    inside = (offset >= offsets[0]) & (offset <= offsets[-1])
    found = reader.scan(uri, ["kafka_offset"], inside if where is None else inside & where)
    return sorted(found["kafka_offset"].to_pylist())
