"""The version of a mart's partition: one number that covers everything that its computation reads.

The lower 36 bits are the number of source rows. The 27 bits above them are a checksum of everything else that is read
and can change: other days' rows, the offset of windows, the number of deleted rows. Without other inputs, the checksum is 0
and the version is the number of rows. A mart's `code_version` changes the checksum (`stamped`); code version 1 does not.
A partition without a version and an empty partition have version 0.

A changed partition keeps its version by accident once in 134 million changes; its next change corrects it.
"""

from __future__ import annotations

import zlib

ROW_BITS = 36
CHECK_BITS = 27


def _checksum(*numbers: int) -> int:
    return zlib.crc32(repr(numbers).encode()) >> (32 - CHECK_BITS)


def version_of(rows: int, *others: int) -> int:
    """The version of a partition with `rows` source rows; `others` are its other inputs as numbers, all 0 for none."""
    return (_checksum(*others) << ROW_BITS if any(others) else 0) + rows


def rows_of(version: int) -> int:
    """The number of rows in a version."""
    return version & ((1 << ROW_BITS) - 1)


def stamped(version: int, code_version: int) -> int:
    """The version for code of `code_version`, with the same number of rows."""
    return version if code_version == 1 else version ^ (_checksum(code_version) << ROW_BITS)
