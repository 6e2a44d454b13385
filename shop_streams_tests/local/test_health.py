"""A start that waits says for what, also where nobody sees a spinner."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from shop_streams.errors import ShopStreamsError
from shop_streams.local import health
from shop_streams.local.down import stopping_on_failure
from shop_streams.local.probes import Unhealthy
from shop_streams.settings import Settings


def no_answer() -> None:
    raise Unhealthy("no answer from [db]:5432\nof two lines")


def test_a_log_says_what_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "START_SECONDS", 1)
    monkeypatch.setattr(health, "QUIET_SECONDS", 0.3)
    log = io.StringIO()
    settings = Settings(home=tmp_path, postgres_dsn="postgresql://shop@db/shop")
    with pytest.raises(ShopStreamsError, match="postgres is not healthy after 1 s: no answer"):
        health.wait_healthy(settings, {"kafka": lambda: None, "postgres": no_answer}, Console(file=log))
    said = log.getvalue().splitlines()
    assert said[0].startswith("  ✓ kafka healthy after")
    assert set(said[1:]) == {"  waiting for postgres: no answer from [db]:5432"} and 2 <= len(said[1:]) <= 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, ShopStreamsError])
def test_a_start_that_fails_says_that_it_stops_what_it_has_started(error: type[BaseException], tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(error), stopping_on_failure(Settings(home=tmp_path), said.append):
        raise error
    assert said == ["Stopping what was started …"]
