"""Files and secrets that only the home's owner can read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings

OTHERS = 0o077
PASS = 0o011  # the group's bit too: initdb runs as the other user, but in root's group


def write_private(path: Path, text: str, encoding: str = "utf-8") -> None:
    """Write a file that only its owner can read, all of it or nothing."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding=encoding) as file:
        file.write(text)
    part.replace(path)


def close_home(home: Path, traversable: bool) -> None:
    """Close the home and its files to other users, in homes of earlier versions too.

    `traversable`: PostgreSQL runs as another user and has its data folder in the home. That user may pass through it.

    Raises:
        ShopStreamsError: the folder is one that all users share, such as /tmp.
    """
    if home.stat().st_mode & stat.S_ISVTX:
        raise ShopStreamsError(f"{home} is shared by all users; set SHOP_STREAMS_HOME to a folder below it.")
    home.chmod(0o711 if traversable else 0o700)
    for name in ("logs", "kafka", "spark", "dagster", "lake", "tmp", "stack.env", "supervisord.conf", "spark.conf"):
        path = home / name
        if path.exists() and not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)


def let_through(folder: Path) -> None:
    """Let other users pass through the folders above `folder`, but not list them."""
    for parent in folder.parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if mode & PASS != PASS:
            parent.chmod(mode | PASS)


def spark_token(settings: Settings) -> str:
    """Spark Connect's secret of this home, made at the first start."""
    if not settings.spark_token_file.exists():
        write_private(settings.spark_token_file, secrets.token_urlsafe(32) + "\n")
    return settings.spark_token_file.read_text().strip()
