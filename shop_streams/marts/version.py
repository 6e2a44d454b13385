"""The version of a mart's partition: one number that covers everything that its computation reads.

The lower 36 bits are the number of rows that are read. The 27 bits above them are a checksum of whatever else is
read and can change: other days' rows, the offset of windows, the number of deleted rows. The checksum is 0 where there is
nothing else, so the version of a plain partition is its number of rows. A mart's `code_version` changes the checksum
(`stamped`); code version 1 changes nothing. A partition without a version, and one that became empty, has version 0.

Two versions are the same by accident once in 134 million changes; the next change of the partition corrects it.
"""

from __future__ import annotations

import zlib

ROW_BITS = 36
CHECK_BITS = 27


def _checksum(*numbers: int) -> int:
    return zlib.crc32(repr(numbers).encode()) >> (32 - CHECK_BITS)


def version_of(rows: int, *others: int) -> int:
    """The version of a partition of `rows` rows; `others` are more facts that it is computed from, all 0 for none."""
    return (_checksum(*others) << ROW_BITS if any(others) else 0) + rows


def rows_of(version: int) -> int:
    """The number of rows in a version."""
    return version & ((1 << ROW_BITS) - 1)


def stamped(version: int, code_version: int) -> int:
    """The version when code of `code_version` computes the partition. The number of rows stays."""
    return version if code_version == 1 else version ^ (_checksum(code_version) << ROW_BITS)
