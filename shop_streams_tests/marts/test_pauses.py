"""How long a partition of a mart waits from one computation to the next."""

import pytest

from shop_streams.defs.app_events.marts import MART as ENRICHED_MART
from shop_streams.defs.sales.marts import MART as SALES_MART
from shop_streams.marts.spec import CLOSING_GRACE_SECONDS, Write, repair_interval
from shop_streams.settings import Settings

NOON = 1_775_044_800  # 2026-04-01T12:00Z
PAUSES: dict[str, tuple[str, list[float], float]] = {
    "closed, never computed": ("2026-03-01", [], 0.0),
    "closed, computed long ago": ("2026-03-01", [-3700], 0.0),
    "closed, computed 20 s ago": ("2026-03-01", [-20], 40.0),
    "closed, computed twice": ("2026-03-01", [-20, -90], 100.0),
    "closed, computed five times": ("2026-03-01", [-20, -90, -300, -900, -3000], 880.0),
    "closed, computed often more than an hour ago": ("2026-03-01", [-20, -3601, -3602, -3603], 40.0),
    "closed half an hour ago, computed often before": ("2026-03-31", [-43300, -43400, -43500], 0.0),
    "live, never computed": ("2026-04-01", [], 0.0),
    "live, computed 20 s ago": ("2026-04-01", [-20], 280.0),
    "live, computed each 300 s": ("2026-04-01", [-20, -320, -620, -920, -1220], 280.0),
    "live, computed 300 s ago": ("2026-04-01", [-300], 0.0),
    "live, computed before the clock was set back by an hour": ("2026-04-01", [3580], 0.0),
    "live, and computed 20 s ago since then": ("2026-04-01", [3580, -20], 280.0),
}


@pytest.mark.parametrize("case", PAUSES)
def test_how_long_a_partition_waits(case: str) -> None:
    key, writes, pause = PAUSES[case]
    settings = Settings(mart_refresh_seconds=300, mart_repair_seconds=60)
    assert SALES_MART.pause(settings, key, [Write(NOON + at) for at in writes], NOON) == pause


@pytest.mark.parametrize(
    ("key", "took", "pause"),
    [("2026-04-01", 110, 280), ("2026-04-01", 324, 952), ("2026-04-01", 5000, 3580),
     ("2026-03-01", 110, 40), ("2026-03-01", 151, 433)],
)  # fmt: skip
def test_a_partition_that_takes_minutes_does_not_occupy_the_machine(key: str, took: float, pause: float) -> None:
    settings = Settings(mart_refresh_seconds=300, mart_repair_seconds=60)
    writes = [Write(NOON - 20, took), Write(NOON - 1000, 4000)]
    assert SALES_MART.pause(settings, key, writes[: 1 + (key > "2026-03-31")], NOON) == pause


def test_computations_of_a_live_partition_are_no_repairs_of_the_closed_one() -> None:
    settings, midnight = Settings(mart_refresh_seconds=300, mart_repair_seconds=60), NOON + 12 * 3600
    writes = [Write(midnight + CLOSING_GRACE_SECONDS - 1 - 300.0 * number) for number in range(12)]
    assert SALES_MART.pause(settings, "2026-04-01", writes, midnight + CLOSING_GRACE_SECONDS) == 59


@pytest.mark.parametrize(
    ("first", "repairs", "seconds"),
    [(60, 0, 60), (60, 1, 60), (60, 2, 120), (60, 4, 480), (60, 5, 900), (60, 5000, 900), (0, 9, 0), (1200, 3, 1200)],
)
def test_pauses_between_repairs_double_up_to_15_minutes(first: float, repairs: int, seconds: float) -> None:
    assert repair_interval(first, repairs) == seconds


def test_a_window_that_waits_until_it_has_closed() -> None:
    key, settings = "2026-04-01-12:00", Settings()
    closes = NOON + 3 * 3600 + CLOSING_GRACE_SECONDS
    assert ENRICHED_MART.pause(settings, key, [], NOON) == closes - NOON
    assert ENRICHED_MART.pause(settings, key, [], closes) == 0
