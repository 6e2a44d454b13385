"""Partitions of promotions: days, today included, by the broker's time (campaigns) and PostgreSQL's (report)."""

from __future__ import annotations

from datetime import date

import dagster as dg

from shop_streams.settings import get_settings

FIRST_DAY = max(get_settings().first_day, date(2026, 1, 1))  # no message is older than the project
days = dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), end_offset=1)
