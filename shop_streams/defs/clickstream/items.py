"""Addresses of pages: the shop, and the item whose page it is."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

from shop_streams.defs.clickstream.schema import MAX_ITEM_ID, MAX_SHOP

DEFAULT_PORTS = {"http": 80, "https": 443}

_NO_HOST = re.compile(r"[\s\0-\x20\x7f#%/<>?@^|\ud800-\udfff]")  # as in browsers
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what PostgreSQL or UTF-8 can't have


def item_page(location: str | None, item_path: str) -> tuple[str | None, str | None]:
    """(shop, item id) of a page's address; each may be None.

    Shop: the host in lower case, with a port that is not the default one. None unless the address is http(s), or begins with
    `//`. Item: the one segment behind `item_path`, decoded once. `.`, `..`, `\\` and empty segments mean what they mean in
    browsers and servers: `/a//b/./c/../d\\` is `/a/b/d`. Characters of an id that can't be stored become U+FFFD.
    """
    shop, path = page_address(location) if location else (None, "")
    return (shop, _item(path, item_path)) if shop and len(shop) <= MAX_SHOP else (None, None)


def page_address(location: str) -> tuple[str | None, str]:
    """(shop, path) of an address, as `item_page` reads it. The collector compares the same shop with CLICK_HOSTS."""
    try:
        parts = urlsplit(location.replace("\\", "/"))
        return _shop(parts), parts.path
    except ValueError:  # urllib's word for a host or a port that is none
        return None, ""


def _shop(parts: SplitResult) -> str | None:
    host = parts.hostname
    if not host or parts.scheme not in ("", *DEFAULT_PORTS) or _NO_HOST.search(host):
        return None
    host = f"[{host}]" if ":" in host else host
    port = parts.port
    return host if port is None or port == DEFAULT_PORTS.get(parts.scheme) else f"{host}:{port}"


def _item(path: str, item_path: str) -> str | None:
    segments, prefix = _segments(path), _prefix(item_path)
    if len(segments) != len(prefix) + 1 or segments[:-1] != prefix or len(segments[-1]) > MAX_ITEM_ID:
        return None
    return _NO_TEXT.sub("\ufffd", segments[-1])


@lru_cache(maxsize=8)
def _prefix(item_path: str) -> list[str]:
    return _segments(item_path)


def _segments(path: str) -> list[str]:
    """The decoded segments, without empty ones."""
    found: list[str] = []
    for segment in path.split("/"):
        decoded = unquote(segment)
        if decoded == "..":
            del found[-1:]
        elif decoded not in ("", "."):
            found.append(decoded)
    return found
