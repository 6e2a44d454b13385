"""Spans: ranges [first, end) of a partition's offsets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

Span = tuple[int, int]
"""Offsets [first, end)."""

NEAR = 2_000  # gaps with fewer offsets between them are read as one range: faster than seeking


def length(spans: Iterable[Span]) -> int:
    """The number of offsets in the spans, each counted once."""
    total = reached = 0
    for first, end in sorted(spans):
        total += max(0, end - max(first, reached))
        reached = max(reached, end)
    return total


def between(first: int, end: int, without: np.ndarray) -> tuple[Span, ...]:
    """The spans of [first, end) that have none of the ascending offsets `without`."""
    spans, begin = [], first
    for offset in [int(one) for one in without if first <= one < end] + [end]:
        if offset > begin:
            spans.append((begin, offset))
        begin = offset + 1
    return tuple(spans)


def as_sql(spans: Mapping[int, Iterable[Span]], partition: str = "partition", offset: str = "offset") -> str:
    """A condition in Spark's SQL: whether the place of a record is in one of the spans, partition -> offsets [first, end).

    It is text because expressions that are built one inside the other end early: the protocol of Spark Connect allows 100 levels,
    and Spark's analyzer 50 filters. The parser makes a balanced tree of any number of `or`s.
    """
    parts = []
    for number, some in sorted(spans.items()):
        ranges = sorted(some)
        single = ", ".join(str(first) for first, end in ranges if end == first + 1)
        inside = [f"{offset} in ({single})"] if single else []
        inside += [f"{offset} between {first} and {end - 1}" for first, end in ranges if end > first + 1]
        if inside:
            parts.append(f"{partition} = {number} and ({' or '.join(inside)})")
    return " or ".join(f"({part})" for part in parts) or "false"


def merged(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Offset ranges [first, end) that cover the ascending offsets; offsets near each other share a range."""
    if not len(offsets):
        return []
    cuts = np.flatnonzero(np.diff(offsets) > NEAR)
    firsts, lasts = offsets[np.concatenate(([0], cuts + 1))], offsets[np.concatenate((cuts, [len(offsets) - 1]))]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]
