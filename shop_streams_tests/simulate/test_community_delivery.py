"""How the simulated messenger delivers: which days, how many rows, into which folders, and what it says."""

import re
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from shop_streams.cli import simulate
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.simulate import DOMAINS, community
from shop_streams.simulate.community import delivery, people
from shop_streams_tests.defs.community import oracle
from shop_streams_tests.patching import replace_in

FIRST = date(2026, 7, 1)


def test_a_file_is_read_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def renamed(source: Path, target: Path) -> None:
        if source.is_relative_to(tmp_path):  # not another thread's
            seen.append((source.name, target.exists()))
        else:
            replace(source, target)

    replace = Path.replace

    monkeypatch.setattr(Path, "replace", renamed)
    delivery.put(tmp_path / "date=2026-07-01" / "a.jsonl", lambda path: path.write_text("{}\n"))
    assert seen == [("_a.jsonl", False)]


def test_cities_are_copied_once_and_somebodys_own_stay(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    community.days_of(settings, 10, 1, FIRST, 1)
    path = Path(settings.community_geo)
    assert path.read_bytes() == people.cities_file() and len(oracle.read_cities(path.read_bytes())) == 24
    path.write_text("mine")
    community.days_of(settings, 10, 1, FIRST, 1)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("count", [1, 2, 19, 60, 777])
def test_as_many_rows_as_asked_for(count: int, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert community.days_of(settings, count, 3, FIRST, 3) == count
    rows = [row for row in oracle.raw_rows(Path(settings.community_raw)) if row.line is not None]
    assert len(rows) == count


def test_late_files_of_an_old_date(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert community.late(settings, 50, 1, FIRST) == 50
    assert community.late(settings, 30, 1, FIRST, FIRST + timedelta(days=9)) == 30
    valid, refused = oracle.verdicts(oracle.raw_rows(Path(settings.community_raw)), datetime(2026, 8, 15, tzinfo=UTC))
    assert not refused and {one.time.date() for one in valid} == {FIRST}
    assert Counter(one.folder for one in valid) == {FIRST: 50, FIRST + timedelta(days=9): 30}


def test_a_channel_with_many_subscribers(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert community.big(settings, 20_000, 5_000, 3_000, 1, FIRST, 10) == 20_000
    valid, refused = oracle.verdicts(oracle.raw_rows(Path(settings.community_raw)), datetime(2026, 8, 15, tzinfo=UTC))
    assert not refused and len(valid) == 20_000
    events = oracle.dds(valid, oracle.read_cities(people.cities_file()))
    of = {event["user_id"] for event in events if event["event_type"] == "subscription" and event["channel"] == 1}
    assert 3_000 <= len(of) < 3_600
    with pytest.raises(ShopStreamsError, match="3000 subscribers need as many users"):
        community.big(settings, 20_000, 2_999, 3_000, 1, FIRST, 10)


def test_the_default_days_are_the_forty_that_ended_yesterday(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("SHOP_STREAMS_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    simulate.simulate("community", 2000)
    raw = tmp_path / "lake" / "community" / "raw"
    assert f"2000 rows written to {raw}." in capsys.readouterr().out
    dates = sorted(path.name for path in raw.iterdir())
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert (dates[0], dates[-1]) == (f"date={yesterday - timedelta(days=39)}", f"date={yesterday}")
    assert all(re.fullmatch(r"date=\d{4}-\d\d-\d\d", name) for name in dates)


def test_days_that_are_not_over_are_not_simulated(tmp_path: Path) -> None:
    settings, now = Settings(home=tmp_path), datetime.now(UTC)
    DOMAINS["community"](settings, 100, 1, now - timedelta(days=2), None)
    names = {path.name for path in Path(settings.community_raw).iterdir()}
    assert names == {f"date={now.date() - timedelta(days=days)}" for days in (1, 2)}
    with pytest.raises(ShopStreamsError, match="is too late: the last simulated date is yesterday"):
        DOMAINS["community"](settings, 100, 1, now, None)


def test_rate_is_rows_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    replace_in(monkeypatch, delivery, time, monotonic=lambda: 100.0, sleep=slept.append)
    delivery.Pace(50).wait(200)
    delivery.Pace(None).wait(200)
    assert slept == [4.0]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file")
    settings = Settings(home=tmp_path, community_raw_uri=str(tmp_path / "raw"))
    with pytest.raises(ShopStreamsError, match=r"raw/date=.* can't be written: .*COMMUNITY_RAW_URI"):
        community.days_of(settings, 10, 1, FIRST, 1)
