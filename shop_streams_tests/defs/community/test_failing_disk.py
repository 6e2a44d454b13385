"""A disk or a network that fails while a file is read."""

import errno
import io
import os
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pytest

from shop_streams.defs.community import reading
from shop_streams.defs.community.output import Output
from shop_streams.defs.community.reading import FileAway, Reader
from shop_streams_tests.defs.community.delivered import TIMES, listed, message, refused, write_lines, write_parquet

TAIL = 20_000  # bytes at a Parquet file's end that describe it


class Failing(io.BytesIO):
    """A file of which the disk gives the end only."""

    def __init__(self, content: bytes, number: int) -> None:
        super().__init__(content)
        self.number = number

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() < len(self.getbuffer()) - TAIL:  # a Parquet file is read from its end first
            raise OSError(self.number, os.strerror(self.number))
        return super().read(size)

    readline = read


@pytest.mark.parametrize("name", ["a.json", "a.parquet"])
@pytest.mark.parametrize(
    ("number", "away"), [(errno.EIO, True), (errno.ESTALE, True), (errno.EMFILE, True), (errno.EACCES, False)]
)
def test_a_failing_disk_is_no_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, away: bool
) -> None:
    """A dead letter instead would stay: the date's version is that of names, sizes and times, and they don't change."""
    write = write_lines if name == "a.json" else write_parquet
    file = write(tmp_path / name, [message(message=sha256(b"%d" % n).hexdigest()) for n in range(2_000)])
    content = file.read_bytes()
    assert len(content) > 2 * TAIL
    monkeypatch.setattr(reading, "open", lambda *_: Failing(content, number), raising=False)
    found = Output()
    reading_it = Reader(str(tmp_path), TIMES).read(listed(file, tmp_path), found)
    if away:
        with pytest.raises(FileAway, match=rf"{name} can't be read now: .*{os.strerror(number)}"):
            list(reading_it)
    else:
        ((line, reason),) = refused(pa.Table.from_batches([*reading_it, *found.end()]))
        assert line is None and os.strerror(number) in reason
