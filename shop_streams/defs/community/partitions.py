"""Partitions of community: dates, and months of the history. `end_offset=1` includes the running ones."""

from __future__ import annotations

import dagster as dg

from shop_streams.settings import get_settings

FIRST_DAY = get_settings().first_day

days = dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), end_offset=1)
months = dg.MonthlyPartitionsDefinition(start_date=FIRST_DAY.replace(day=1).isoformat(), end_offset=1)
