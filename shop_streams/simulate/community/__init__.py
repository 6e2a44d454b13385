"""Users of a messenger in 24 cities, delivered as files: they live somewhere, travel, write, react and subscribe.

The same arguments write the same files, byte by byte. Users are the same people on all days and for all seeds: what a user
does depends on the seed, and where the user is on the date alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.simulate.community import delivery
from shop_streams.simulate.community.delivery import EPOCH
from shop_streams.simulate.community.plan import Plan, plan

DAYS = 40  # long enough for somebody's home
ROWS_A_USER = 40
FEWEST_USERS = 25
BIG_CHANNEL_SHARE = 0.35  # of the users
JUNK_SHARE = 0.005
JSON_SHARE = 0.5
ROWS_A_FILE = 50_000


def first_day() -> datetime:
    """Midnight, UTC, at the beginning of the `DAYS` days that ended yesterday."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=DAYS)


def send(settings: Settings, count: int, seed: int, start: datetime, rate: float | None = None) -> int:
    """Write `count` rows of the 40 days from `start`, or of fewer: up to yesterday. Returns how many were written.

    Raises:
        ShopStreamsError: `start` is not before today, or the landing folder can't be written.
    """
    days = (datetime.now(UTC).date() - start.date()).days
    if days < 1:
        raise ShopStreamsError(f"--start {start:%Y-%m-%d} is too late: the last simulated date is yesterday, UTC.")
    return days_of(settings, count, seed, start.date(), min(days, DAYS), rate)


def days_of(
    settings: Settings,
    count: int,
    seed: int,
    first: date,
    days: int,
    rate: float | None = None,
    users: int | None = None,
) -> int:
    """Write `count` rows of `days` days from `first` into the folders of these days, a few bad ones and one unreadable file among them.

    Args:
        rate: rows a second, or None for as fast as possible.
        users: in the population; by default one for 40 rows.

    Raises:
        ShopStreamsError: the landing folder can't be written.
    """
    begin, bad = (first - EPOCH).days, int(count * JUNK_SHARE)
    users = users or max(FEWEST_USERS, count // ROWS_A_USER)
    subscribers = min(int(users * BIG_CHANNEL_SHARE), count // 20)
    planned = plan(count - bad, seed, begin, days, users, subscribers)
    lines: dict[int, list[str]] = {}
    for number, line in enumerate(delivery.junk(bad, seed, first)):
        lines.setdefault(begin + number * 7 % days, []).append(line)
    prefix = f"{first:%Y%m%d}-{days}d-{count}-seed{seed}"
    if bad:
        delivery.write_unreadable(Path(settings.community_raw), begin, prefix)
    return _deliver(settings, planned, delivery.files(planned, prefix, lines, JSON_SHARE, ROWS_A_FILE), count, rate)


def late(settings: Settings, count: int, seed: int, event_day: date, folder: date | None = None) -> int:
    """Write `count` rows of one day into the folder of `folder`, by default into that of the same day, as a late file.

    Raises:
        ShopStreamsError: the landing folder can't be written.
    """
    day, delivered = (event_day - EPOCH).days, ((folder or event_day) - EPOCH).days
    planned = plan(count, seed, day, 1, FEWEST_USERS, 0)
    planned = Plan(**(vars(planned) | {"folder": np.full(len(planned), delivered)}))
    files = delivery.files(planned, f"late-{event_day:%Y%m%d}-{count}-seed{seed}", {}, JSON_SHARE, ROWS_A_FILE)
    return _deliver(settings, planned, files, count, None)


def big(settings: Settings, count: int, users: int, channel_subscribers: int, seed: int, first: date, days: int) -> int:
    """Write `count` rows fast, most of them as parquet, without bad ones; one channel has `channel_subscribers` subscribers.

    Raises:
        ShopStreamsError: the landing folder can't be written, or there are more subscribers than users or rows.
    """
    if channel_subscribers > min(users, count):
        raise ShopStreamsError(f"{channel_subscribers} subscribers need as many users and rows.")
    planned = plan(count, seed, (first - EPOCH).days, days, users, channel_subscribers)
    files = delivery.files(planned, f"{first:%Y%m%d}-{days}d-{count}-seed{seed}", {}, 0.02, 200_000)
    return _deliver(settings, planned, files, count, None)


def _deliver(
    settings: Settings, planned: Plan, files: Iterator[delivery.File], count: int,
    rate: float | None,
) -> int:  # fmt: skip
    delivery.put_cities(Path(settings.community_geo))
    folder, pace, written = Path(settings.community_raw), delivery.Pace(rate), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("community", total=count)
        for file in files:
            rows = delivery.write(folder, planned, file)
            written += rows
            progress.advance(task, rows)
            pace.wait(written)
    return written
