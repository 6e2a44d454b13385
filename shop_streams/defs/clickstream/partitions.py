"""Partitions of clickstream: days of the stream's table, half hours of the mart. `end_offset=1` includes the running ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from shop_streams.defs.clickstream.rules import CLICKED_SINCE
from shop_streams.settings import get_settings

HALF_HOUR_MINUTES = 30
HALF_HOUR_FORMAT = "%Y-%m-%d-%H:%M"
# Dagster lists all half hours each time that it shows the asset; empty years cost seconds.
FIRST_DAY = max(get_settings().first_day, CLICKED_SINCE).isoformat()

days = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, end_offset=1)
half_hours = dg.TimeWindowPartitionsDefinition(
    cron_schedule=f"*/{HALF_HOUR_MINUTES} * * * *", start=f"{FIRST_DAY}-00:00", fmt=HALF_HOUR_FORMAT, end_offset=1
)


def window_of(key: str) -> tuple[datetime, datetime]:
    """Beginning and end of a half hour, UTC."""
    start = datetime.strptime(key, HALF_HOUR_FORMAT).replace(tzinfo=UTC)
    return start, start + timedelta(minutes=HALF_HOUR_MINUTES)
