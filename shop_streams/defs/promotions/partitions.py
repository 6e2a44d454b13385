"""Partitions of promotions: days, today included, by the broker's and our own time."""

from __future__ import annotations

import dagster as dg

days = dg.DailyPartitionsDefinition(start_date="2026-01-01", end_offset=1)
