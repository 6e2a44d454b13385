"""Partitions of app_events: days of the stream's table, 3-hour windows of the mart. `end_offset=1` includes the running ones."""

from __future__ import annotations

import dagster as dg

from shop_streams.defs.app_events.rules import COLLECTED_SINCE
from shop_streams.settings import get_settings

WINDOW_HOURS = 3
WINDOW_FORMAT = "%Y-%m-%d-%H:%M"
# Dagster lists all windows each time that it shows the asset, at 0.2 ms each: ten empty years took 6 s.
FIRST_DAY = max(get_settings().first_day, COLLECTED_SINCE).isoformat()

days = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, end_offset=1)
windows = dg.TimeWindowPartitionsDefinition(
    cron_schedule=f"0 */{WINDOW_HOURS} * * *", start=f"{FIRST_DAY}-00:00", fmt=WINDOW_FORMAT, end_offset=1
)
