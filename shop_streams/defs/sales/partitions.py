"""Partitions of sales: days, today included."""

from __future__ import annotations

import dagster as dg

from shop_streams.settings import get_settings

FIRST_DAY = get_settings().first_day.isoformat()  # the rules refuse older events
days = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, end_offset=1)
