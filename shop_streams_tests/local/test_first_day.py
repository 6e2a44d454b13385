"""A home that the demo makes begins some months ago, and goes on so."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from shop_streams.local.first_day import remember_first_day
from shop_streams.settings import Settings, get_settings

DEFAULT = Settings.model_fields["first_day"].default


@pytest.fixture(autouse=True)
def home(fresh_shell: Path) -> Path:
    return fresh_shell / "home"


def month_before_last() -> date:
    today = datetime.now(UTC)
    return date(today.year - (today.month <= 2), (today.month - 3) % 12 + 1, 1)


def test_a_new_home_begins_on_the_first_day_of_the_month_before_last_and_remembers_it(home: Path) -> None:
    assert get_settings().first_day == DEFAULT
    assert remember_first_day(get_settings()).first_day == month_before_last()
    (home / "lake").mkdir()  # the demo has run
    assert get_settings().first_day == month_before_last(), "so does `status`, `up`, and everybody else"
    (home / "home.env").write_text("SHOP_STREAMS_FIRST_DAY=2026-02-01\n")  # a demo of months ago
    assert remember_first_day(get_settings()).first_day == date(2026, 2, 1)


def test_a_running_stack_a_file_and_the_environment_go_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember_first_day(get_settings())
    (home / "stack.env").write_text("SHOP_STREAMS_FIRST_DAY=2020-01-01\n")
    assert get_settings().first_day == date(2020, 1, 1)
    (home.parent / ".env").write_text("SHOP_STREAMS_FIRST_DAY=2021-01-01\n")
    assert get_settings().first_day == date(2021, 1, 1)
    monkeypatch.setenv("SHOP_STREAMS_FIRST_DAY", "2022-01-01")
    assert get_settings().first_day == date(2022, 1, 1)


@pytest.mark.parametrize("own", ["FIRST_DAY=2019-05-05", "KAFKA_BOOTSTRAP_SERVERS=broker:9092"])
def test_a_given_first_day_and_external_services_keep_the_setting(
    own: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, value = own.split("=")
    monkeypatch.setenv(f"SHOP_STREAMS_{name}", value)
    settings = get_settings()
    assert remember_first_day(settings) == settings and not home.exists()


def test_a_home_that_is_there_may_hold_older_events(home: Path) -> None:
    (home / "lake").mkdir(parents=True)
    assert remember_first_day(get_settings()).first_day == DEFAULT and not (home / "home.env").exists()
