"""A new checkpoint in the place of an old one, as a whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pyarrow import fs

from shop_streams.streaming.checkpoint import names_in, opened, text_of, write_metadata

QUERY = "metadata"  # Spark's file with the query's id
NEW = ".new"


def replace_checkpoint(folder: str, notes: Mapping[str, str]) -> str | None:
    """Move the checkpoint in `folder` aside, and put a new one with the metadata `notes` there; returns where the old one is.

    Until the new one is in its place, `is_begun` is true and the stream does not start. The query keeps its id: so at the next
    start, Spark stops a query of a killed run.
    """
    system, path = opened(folder)
    new, aside = f"{folder}{NEW}", f"{folder}.before_{datetime.now(UTC):%Y-%m-%dT%H-%M-%S-%f}"
    query = next((one for one in (folder, new) if QUERY in names_in(one)), None)
    text = text_of(query, QUERY) if query else None
    if is_begun(folder):
        system.delete_dir(opened(new)[1])
    for name, value in notes.items():
        write_metadata(new, name, value)
    if text is not None:
        with system.open_output_stream(opened(new, QUERY)[1]) as file:
            file.write(text.encode())
    found = bool(names_in(folder))
    if found:
        _move(system, path, opened(aside)[1])
    _move(system, opened(new)[1], path)
    return aside if found else None


def is_begun(folder: str) -> bool:
    """Whether `replace_checkpoint` was interrupted."""
    return bool(names_in(f"{folder}{NEW}"))


def _move(system: fs.FileSystem, path: str, target: str) -> None:
    """Move a folder; on an object store file by file."""
    if isinstance(system, fs.LocalFileSystem):
        system.move(path, target)
        return
    for one in system.get_file_info(fs.FileSelector(path, recursive=True)):
        if one.is_file:
            system.copy_file(one.path, f"{target}{one.path.removeprefix(path)}")
            system.delete_file(one.path)
