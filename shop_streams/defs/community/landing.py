"""The landing folder: its dates, their files, and a digest of each date. One walk through it, without reading a file."""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property

from shop_streams.defs.community.output import File
from shop_streams.marts.spec import SourceMissing
from shop_streams.marts.version import version_of
from shop_streams.settings import Settings

SUFFIXES = (".parquet", ".json", ".jsonl", ".ndjson")  # in any case
HIDDEN = ("_", ".")  # a writer writes under such a name, and renames
NAMED = 20  # of what is left out


@dataclass
class Folder:
    """The folder of a date. `links` lead to folders or out of the landing folder; they are not followed.

    `closed`: folders that this process may not read, with the reason. `found`: path, name, size and time of each file.
    """

    folder_date: date
    first_day: date  # rows of earlier days are refused
    found: list[tuple[str, str, int, int]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)
    others: int = 0  # files with other suffixes
    _states: list[str] = field(default_factory=list)

    @cached_property
    def files(self) -> list[File]:
        """The files in a fixed order. Versions don't need them: a million objects would take seconds."""
        return sorted(
            File(os.fsencode(path), name, self.folder_date, size, modified) for path, name, size, modified in self.found
        )

    @property
    def version(self) -> int:
        """The version of the date: the number of its files, and a checksum of their names, sizes, times and rights, and of
        the first day.

        The folder of a date without files has one too. It is never 0.
        """
        states = "\n".join(sorted(self._states))
        digest = zlib.crc32(states.encode(errors="surrogateescape"))
        return version_of(len(self.found), self.folder_date.toordinal(), self.first_day.toordinal(), digest)


@dataclass(frozen=True)
class Landing:
    """The landing folder at `root`. Dates outside of [first, last] have no partition yet or at all; they are left out."""

    root: str
    first: date
    last: date

    @classmethod
    def of(cls, settings: Settings) -> Landing:
        """The landing folder of the settings, with all dates up to today (UTC).

        Raises:
            SourceMissing: it does not exist, or can't be read.
        """
        path = settings.community_raw
        advice = "Create the folder, or set SHOP_STREAMS_COMMUNITY_RAW_URI. Dates that are loaded stay."
        try:
            with os.scandir(path):
                pass
        except OSError as error:
            raise SourceMissing(f"The landing folder {path} can't be read: {error.strerror}. {advice}") from error
        return cls(os.path.realpath(path), settings.first_day, datetime.now(UTC).date())

    def dates(self) -> dict[str, str]:
        """Date as text -> the path of its folder."""
        with os.scandir(self.root) as entries:
            return {e.name.removeprefix("date="): e.path for e in entries if self._refused(e) is None}

    def ignored(self) -> dict[str, str]:
        """Name of an entry of the landing folder that is not read -> why, without hidden ones."""
        with os.scandir(self.root) as entries:
            found = {_text(e.name): self._refused(e) for e in entries if not e.name.startswith(HIDDEN)}
        return {name: why for name, why in sorted(found.items()) if why is not None}

    def folders(self) -> Iterator[Folder]:
        """The folder of each date, one after the other: the files of all may be many."""
        for key, path in sorted(self.dates().items()):
            yield self._walk(key, path)

    def of_dates(self, keys: Iterable[str]) -> dict[str, Folder | None]:
        """The folder of each date in `keys` (ISO); None if there is none."""
        paths = self.dates()
        return {key: self._walk(key, paths[key]) if key in paths else None for key in keys}

    def versions(self) -> dict[str, int]:
        """Date -> version of its files."""
        return {folder.folder_date.isoformat(): folder.version for folder in self.folders()}

    def _refused(self, entry: os.DirEntry[str]) -> str | None:
        """Why an entry of the landing folder is no folder of a date, or None."""
        if entry.is_symlink():
            return "a symbolic link"
        if not entry.is_dir():
            return "not a folder"
        found = re.fullmatch("date=([0-9]{4}-[0-9]{2}-[0-9]{2})", entry.name)
        try:
            day = date.fromisoformat(found[1]) if found else None
        except ValueError:
            day = None
        if day is None:
            return "not named date=YYYY-MM-DD"
        if day < self.first:
            return f"before {self.first}, the setting FIRST_DAY"
        return f"after today, {self.last} in UTC" if day > self.last else None

    def _walk(self, key: str, path: str) -> Folder:
        folder, waiting = Folder(date.fromisoformat(key), self.first), [path]
        while waiting:
            path = waiting.pop()
            try:
                inside = f"{self._name(path)}/"
                with os.scandir(path) as entries:
                    for entry in entries:
                        if not entry.name.startswith(HIDDEN):
                            self._look(entry, inside, folder, waiting)
            except PermissionError as error:
                folder.closed.append((f"{self._name(path)}/", str(error.strerror)))
                folder._states.append(f"{self._name(path)}\0closed")
            except FileNotFoundError:
                continue
            except OSError as error:  # of the disk or the network: the files are not gone
                raise SourceMissing(
                    f"{self._name(path)} in the landing folder can't be read: {error.strerror}. Are its disk or its network well?"
                ) from error
        return folder

    def _look(self, entry: os.DirEntry[str], inside: str, folder: Folder, waiting: list[str]) -> None:
        if entry.is_dir(follow_symlinks=False):
            waiting.append(entry.path)
            return
        try:
            if entry.is_symlink() and (entry.is_dir() or not self._inside(entry.path)):
                raise OSError("not followed")
            now = entry.stat()
        except OSError as error:
            if not entry.is_symlink():
                if isinstance(error, FileNotFoundError):  # deleted a moment ago; the next listing says what is there
                    return
                raise
            folder.links.append(self._name(entry.path))
            folder._states.append(f"{folder.links[-1]}\0link")
            return
        if not entry.name.lower().endswith(SUFFIXES):
            folder.others += 1
            return
        if stat.S_ISREG(now.st_mode):
            name = inside + _text(entry.name)
            # With the rights: a file that could not be read may be readable now.
            folder._states.append(f"{name}\0{now.st_size}\0{now.st_mtime_ns}\0{now.st_mode} {now.st_uid} {now.st_gid}")
            folder.found.append((entry.path, name, now.st_size, now.st_mtime_ns))

    def _inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(f"{self.root}/")

    def _name(self, path: str) -> str:
        return _text(path[len(self.root) + 1 :])


def _text(name: str) -> str:
    """The name as text that every layer can take; bytes that are no UTF-8 become escapes."""
    return name if name.isascii() else os.fsencode(name).decode(errors="backslashreplace")
