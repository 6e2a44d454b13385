"""The demo's sales: the hours of a day in the topic and in the mart, and what they must be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from shop_streams.defs.sales.checks import last_records
from shop_streams.defs.sales.schema import HOURLY
from shop_streams.lake import reader
from shop_streams.settings import Settings


def totals_of_events(events: list[dict[str, Any]]) -> Counter[str]:
    """The totals that these events must give."""
    prices = [event["item_price"] for event in events if event["event_type"] == "buy"]
    visitors = sum(event["uid"] is not None for event in events)
    return Counter(revenue=sum(prices), visitors=visitors, purchases=len(prices))


def totals(hours: list[dict[str, Any]]) -> Counter[str]:
    """The totals of hours of the topic or the mart, repeats included."""
    names = ("revenue", "visitors", "purchases")
    return Counter(
        {name: sum(int(hour[name]) + int(hour.get(f"repeats_{name}") or 0) for hour in hours) for name in names}
    )


def _of_day(hours: Iterable[dict[str, Any]], day: datetime) -> list[dict[str, Any]]:
    start = day.timestamp()
    return sorted((row for row in hours if start <= row["start_ts"] < start + 86_400), key=lambda row: row["start_ts"])


def topic_rows(settings: Settings, day: datetime) -> list[dict[str, Any]]:
    """The hours of a day in the topic."""
    hours = last_records(settings).values.values()
    return _of_day((list(values.values())[-1] for values in hours), day)


def mart_rows(settings: Settings, day: datetime) -> list[dict[str, Any]]:
    """The hours of a day in the mart."""
    return _of_day(reader.scan(HOURLY.uri(settings), [column.name for column in HOURLY.columns]).to_pylist(), day)


def print_hours(console: Console, day: datetime, rows: list[dict[str, Any]]) -> None:
    """Print a table of the hours."""
    most = max((row["revenue"] for row in rows), default=0) or 1
    title = f"The shop on {day:%Y-%m-%d} (UTC)"
    grid = RichTable("hour", "revenue", "", "visitors", "unique", "purchases", "aov", title=title)
    for row in rows:
        hour = time.strftime("%H:%M", time.gmtime(row["start_ts"]))
        aov = "" if row["aov"] is None else f"{row['aov']:,.2f}"
        bar = "█" * round(15 * row["revenue"] / most)
        counts = (str(row[name]) for name in ("visitors", "unique_visitors", "purchases"))
        grid.add_row(hour, f"{row['revenue']:,}", f"[cyan]{bar}[/]", *counts, aov)
    console.print(grid)
