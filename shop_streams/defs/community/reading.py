"""Delivered files -> Arrow batches, in one pass and without a whole file in memory. It runs in Spark's workers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from shop_streams.defs.community.json_files import json_rows
from shop_streams.defs.community.output import File, Output
from shop_streams.defs.community.parquet_files import Unreadable, is_of_the_disk, parquet_rows
from shop_streams.defs.community.rows import Raw, Row, acting_ids, moment_of, validate
from shop_streams.errors import ShopStreamsError
from shop_streams.rules import EPOCH, Refused, Times
from shop_streams.streaming.forgotten import ForgottenPersons

FILES = "path binary, file string, folder_date date, size bigint, modified bigint"  # the fields of `File`


class FileChanged(ShopStreamsError):
    """A file is being written while it is read."""


class FileAway(ShopStreamsError):
    """The disk or the network failed while a file was read: the file is not broken, and its rows must not go."""


@dataclass(frozen=True)
class Reader:
    """Reads files in Spark's workers. It is pickled: plain values.

    `root` is the landing folder without links. Rows of `forgotten` users up to their removal are left out: a date that is
    loaded again must not bring them back.
    """

    root: str
    times: Times
    forgotten: ForgottenPersons = field(default_factory=ForgottenPersons)

    def batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batches with the columns of `FILES` -> batches with those of `RESULT` (output.py).

        Raises:
            FileChanged: a file is not, or no longer, what the listing saw.
            FileAway: a file can't be read now, for a reason that is not its own.
        """
        output = Output()
        for batch in batches:
            for one in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield from self.read(File(*one), output)
        yield from output.end()

    def read(self, one: File, output: Output) -> Iterator[pa.RecordBatch]:
        """Read a file into `output`; yields what is full."""
        self._require_unchanged(one)
        output.begin(one)
        try:
            with open(one.path, "rb") as file:  # noqa: PTH123 (a name of a file may be no UTF-8)
                rows: Iterator[Any] = (parquet_rows if one.path.lower().endswith(b".parquet") else json_rows)(file)
                for line, raw, problems, source in rows:
                    try:
                        row = validate(raw, self.times, problems)
                        if not self._is_forgotten(row):
                            output.add(line, row)
                    except Refused as refused:
                        if not self._names_forgotten(raw):
                            output.refuse(line, str(refused), source)
                    if output.full:
                        yield from output.flush()
        except (Unreadable, OSError) as error:
            if is_of_the_disk(error):
                self._require_unchanged(one)
                raise FileAway(
                    f"{one.file} can't be read now: {error}. Are its disk or its network well? What was loaded of its date stays, "
                    "and the date is loaded again."
                ) from error
            output.unreadable(str(error) if isinstance(error, Unreadable) else f"{error.strerror}")
        output.finish()
        self._require_unchanged(one)  # what looks broken may be half of a file

    def _is_forgotten(self, row: Row) -> bool:
        return bool(self.forgotten) and self.forgotten.leaves_out(
            row.user_id, EPOCH + timedelta(microseconds=row.event_time)
        )

    def _names_forgotten(self, raw: Raw) -> bool:
        """Whether a refused row is of a forgotten user, and not known to be newer than the removal."""
        if not self.forgotten:
            return False
        at = moment_of(raw.event)
        moment = EPOCH if at is None else EPOCH + timedelta(microseconds=at)
        return any(self.forgotten.leaves_out(user, moment) for user in acting_ids(raw))

    def _require_unchanged(self, one: File) -> None:
        try:
            real = os.fsdecode(os.path.realpath(one.path))
            now = Path(real).stat()
        except OSError as error:
            raise FileChanged(f"{one.file} was there when its folder was listed, and is not now: {error}.") from error
        same = stat.S_ISREG(now.st_mode) and (now.st_size, now.st_mtime_ns) == (one.size, one.modified)
        if not same or not real.startswith(f"{self.root}/"):
            raise FileChanged(
                f"{one.file} has changed since its folder was listed. Its date is loaded once it rests. Write files under a name "
                "that begins with _ or ., and rename them."
            )
