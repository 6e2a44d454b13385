"""Every partitioning of the graph. `end_offset=1`: today and the running window exist too."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from shop_streams.defs.app_events.rules import COLLECTED_SINCE
from shop_streams.settings import get_settings

WINDOW_FORMAT = HOUR_FORMAT = "%Y-%m-%d-%H:%M"
FIRST_DAY = get_settings().first_day.isoformat()  # the rules refuse what is older
# Dagster lists 3-hour windows at 0.2 ms each, at every look at the asset: ten years that can hold nothing took 6 s.
APP_EVENTS_FIRST_DAY = max(get_settings().first_day, COLLECTED_SINCE).isoformat()

app_events_days = dg.DailyPartitionsDefinition(start_date=APP_EVENTS_FIRST_DAY, end_offset=1)
app_events_windows = dg.TimeWindowPartitionsDefinition(
    cron_schedule="0 */3 * * *", start=f"{APP_EVENTS_FIRST_DAY}-00:00", fmt=WINDOW_FORMAT, end_offset=1
)
promotions_days = dg.DailyPartitionsDefinition(
    start_date="2026-01-01", end_offset=1
)  # by the broker's and our own time
sales_days = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, end_offset=1)
topic_hours = dg.HourlyPartitionsDefinition(start_date="2026-01-01-00:00", end_offset=1)  # by the broker's time


def window_start(key: str) -> datetime:
    """The beginning of a 3-hour window, UTC, out of its partition key."""
    return datetime.strptime(key, WINDOW_FORMAT).replace(tzinfo=UTC)


def window_key(moment: datetime) -> str:
    """The key of the 3-hour window that `moment` (UTC) lies in."""
    return moment.replace(hour=moment.hour - moment.hour % 3, minute=0).strftime(WINDOW_FORMAT)
