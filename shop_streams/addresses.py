"""Folders and addresses that every part understands: what only some of them can read is refused with a sentence."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlparse


def absolute(path: Path) -> Path:
    """The path from the root, `~` replaced."""
    return path.expanduser().resolve()


def plain(path: Path) -> Path:
    """A path without the characters that one of the parts can't write down.

    Raises:
        ValueError: it has some; names them.
    """
    # Kafka splits its folders at commas; supervisord has no way to write the next ones down, delta-rs the last ones.
    wrong = sorted({one for one in str(path) if one in ',"\\[]^|' or not one.isprintable()})
    # delta-rs takes such a percent sign for an encoded character, and looks for the table in another folder.
    wrong += re.findall("%[0-9A-Fa-f]{2}", str(path))
    if wrong:
        raise ValueError(f"the path of a home or a lake can't have {' '.join(map(repr, wrong))}; choose another folder")
    return path


def lake_address(value: str) -> str:
    """A plain absolute path, also of a `file:///` address; an empty value as it is.

    Raises:
        ValueError: another address. Object stores were never tried, so they are refused.
    """
    if not value:
        return value
    path = unquote(value.removeprefix("file://")) if value.startswith("file:///") else value
    if re.match("[a-z0-9]+:", path):
        raise ValueError("a lake is a folder; object stores are not supported yet")
    return str(plain(absolute(Path(path))))


def postgres_address(value: str) -> str:
    """An address as Dagster reads it, with SQLAlchemy: `postgresql://` with one host."""
    value = re.sub("^postgres://", "postgresql://", value)
    hosts = urlparse(value).netloc.rpartition("@")[2]
    if value and (not value.startswith("postgresql://") or "," in hosts):
        raise ValueError("the address must be postgresql://user@host:port/database, with one host")
    return value
