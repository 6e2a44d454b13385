"""The built files of `dist/`."""

from __future__ import annotations

from pathlib import Path

from shop_streams.errors import ShopStreamsError

WEB = Path(__file__).parent
DIST = WEB / "dist"


def bundle(name: str) -> bytes:
    """The content of a built file, such as `divolte.js`.

    Raises:
        ShopStreamsError: it was not built.
    """
    path = DIST / name
    if not path.is_file():
        raise ShopStreamsError(f"{path} is missing; run `make setup` once (needs the network).")
    return path.read_bytes()
