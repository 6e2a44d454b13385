"""Validators of folders, addresses and paths: they accept only what all their readers can read."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any
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
    """The lake's folder: as `folder_address`, without characters that Delta can't keep in a path."""
    return str(plain(Path(folder_address(value)))) if value else value


def folder_address(value: str) -> str:
    """A folder or a file as an absolute path, from a path or a `file:///` address; an empty value stays empty.

    Raises:
        ValueError: any other address. Object stores are not tested yet.
    """
    if not value:
        return value
    path = unquote(value.removeprefix("file://")) if value.startswith("file:///") else value
    if re.match("[A-Za-z][A-Za-z0-9+.-]*:", path):
        raise ValueError("only a folder of this machine; object stores are not supported yet")
    return str(absolute(Path(path)))


def depth_days(value: Any) -> Any:
    """A number of dates, at most ten years; 0 for all of them, which is also called `full`.

    Raises:
        ValueError: anything else.
    """
    if str(value).strip().lower() == "full":
        return 0
    if not re.fullmatch("[0-9]{1,4}", str(value).strip()) or int(value) > 3660:
        raise ValueError("must be a number of dates up to 3660, or `full`")
    return int(value)


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


def spark_address(value: str) -> str:
    """The address of a Spark Connect server, or nothing.

    Raises:
        ValueError: another scheme, or no host.
    """
    if value and not (value.startswith("sc://") and urlparse(value).hostname):
        raise ValueError("the address must be sc://host:port")
    return value


def memory(value: str) -> str:
    """The memory of a Java program, as its option -Xmx has it.

    Raises:
        ValueError: anything else.
    """
    if not re.fullmatch("[1-9][0-9]*[kmgKMG]", value):
        raise ValueError("must be a number with k, m or g, such as 512m or 3g")
    return value


def page_path(value: str) -> str:
    """The path that the paths of pages begin with.

    Raises:
        ValueError: it can't be the beginning of a path, up to a slash.
    """
    if not (value.startswith("/") and value.endswith("/")) or re.search(r"[?#\\\s]", value):
        raise ValueError("it must begin and end with a slash, and can't have spaces, `?` or `#`")
    return value


def listed(value: str) -> list[str]:
    """The words of a list that is separated by commas."""
    return [word for part in value.split(",") if (word := part.strip())]


def networks(value: str) -> str:
    """A list of addresses and networks, as it is.

    Raises:
        ValueError: names the entry that is neither.
    """
    for word in listed(value):
        try:
            ipaddress.ip_network(word)
        except ValueError as error:
            raise ValueError(f"{error}; write addresses like 10.0.0.7 or networks like 10.0.0.0/8") from error
    return value


def origins(value: str) -> str:
    """A list of origins in lower case, as browsers send them.

    Raises:
        ValueError: names the entry that is no origin.
    """
    for word in listed(value.lower()):
        if not re.fullmatch(rf"https?://{_HOST}", word) or _default_port(word):
            raise ValueError(
                f"{word} is no origin; write https://shop.example, with a port that is not the default one, and no path"
            )
    return value.lower()


def hosts(value: str) -> str:
    """A list of hosts in lower case.

    Raises:
        ValueError: names the entry that is no host.
    """
    for word in listed(value.lower()):
        if not re.fullmatch(_HOST, word) or word.endswith((":443", ":80")):
            raise ValueError(
                f"{word} is no host; write shop.example or shop.example:8080, without https://, a default port and a path"
            )
    return value.lower()


_HOST = r"(?:[a-z0-9_.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"


def _default_port(origin: str) -> bool:
    return origin.endswith(":443" if origin.startswith("https:") else ":80")
