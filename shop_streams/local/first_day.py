"""The first day of a demo's home: the first day of the month before last, so that Dagster does not show ten empty years."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from shop_streams.local.private import write_private
from shop_streams.settings import PREFIX, Settings


def remember_first_day(settings: Settings) -> Settings:
    """The settings of a demo: a new home begins on the first day of the month before last, and remembers it in `home.env`.

    The settings stay if `FIRST_DAY` is set, and if the lake exists or Kafka is external: they may hold older events.
    """
    old = Path(settings.lake).exists() or not settings.embedded["kafka"]
    if old or "first_day" in settings.model_fields_set:
        return settings
    month_before = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)
    day = (month_before.replace(day=1) - timedelta(days=1)).replace(day=1)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(settings.home / "home.env", f"{PREFIX}FIRST_DAY={day}\n")
    return settings.model_copy(update={"first_day": day})
