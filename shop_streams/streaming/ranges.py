"""Ranges of a topic's offsets, and the rows of a table that have them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping

import pyarrow.compute as pc

from shop_streams.lake.reader import Prune

Ranges = Mapping[int, tuple[int, int]]
"""Kafka partition -> offsets [first, end)."""


def since(ranges: Ranges) -> Prune:
    """Leaves out the files that have earlier offsets only. To open a thousand files to see this takes a second."""
    return [("kafka_offset", ">=", min((low for low, _ in ranges.values()), default=0))]


def inside_of(ranges: Ranges, shift: int = 0) -> pc.Expression:
    """The rows with an offset in the ranges; `shift` as `partition_shift`."""
    partition, offset = pc.field("kafka_partition"), pc.field("kafka_offset")
    parts = [
        (partition == number + shift) & (offset >= low) & (offset < high) for number, (low, high) in ranges.items()
    ]
    return functools.reduce(operator.or_, parts)
