"""Validators of folders, addresses and paths: they accept only what all their readers can read."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlparse


def absolute(path: Path) -> Path:
    """The path from the root, `~` replaced."""
    return path.expanduser().resolve()


def plain(path: Path) -> Path:
    """The path itself.

    Raises:
        ValueError: it contains characters that a component can't handle; names them.
    """
    # Kafka splits folders at commas. supervisord can't quote the next characters, delta-rs can't quote the last.
    wrong = sorted({one for one in str(path) if one in ',"\\[]^|' or not one.isprintable()})
    # delta-rs decodes `%41` to `A` and opens another folder.
    wrong += re.findall("%[0-9A-Fa-f]{2}", str(path))
    if wrong:
        raise ValueError(f"the path of a home or a lake can't have {' '.join(map(repr, wrong))}; choose another folder")
    return path


def lake_address(value: str) -> str:
    """The lake's folder as an absolute path, from a path or a `file:///` address; an empty value stays empty.

    Raises:
        ValueError: any other address. Object stores are not tested yet.
    """
    if not value:
        return value
    path = unquote(value.removeprefix("file://")) if value.startswith("file:///") else value
    if re.match("[a-z0-9]+:", path):
        raise ValueError("a lake is a folder; object stores are not supported yet")
    return str(plain(absolute(Path(path))))


def postgres_address(value: str) -> str:
    """The address in the form that SQLAlchemy, which Dagster uses, can read: `postgresql://` with one host.

    Raises:
        ValueError: another scheme, or several hosts.
    """
    value = re.sub("^postgres://", "postgresql://", value)
    hosts = urlparse(value).netloc.rpartition("@")[2]
    if value and (not value.startswith("postgresql://") or "," in hosts):
        raise ValueError("the address must be postgresql://user@host:port/database, with one host")
    return value


def page_path(value: str) -> str:
    """The path that the paths of pages begin with.

    Raises:
        ValueError: it can't be the beginning of a path, up to a slash.
    """
    if not (value.startswith("/") and value.endswith("/")) or re.search(r"[?#\\\s]", value):
        raise ValueError("it must begin and end with a slash, and can't have spaces, `?` or `#`")
    return value
