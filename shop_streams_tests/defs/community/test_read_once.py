"""Sensors ask at each tick: the cities are read again when their file has changed, and one walk serves all sensors of a tick."""

import os
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from shop_streams.defs.community import cities_file, landing
from shop_streams.defs.community.cities import Cities, CitiesBroken
from shop_streams.defs.community.cities_file import current_cities
from shop_streams.defs.community.landing import Landing
from shop_streams.defs.community.shared_walk import PAUSE, SharedWalk
from shop_streams.defs.community.source import LandingSource
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import SourceMissing
from shop_streams.settings import Settings
from shop_streams_tests.patching import replace_in

HEADER = "id;city;lat;lng;timezone\n"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files of cities that were read."""
    found: list[str] = []
    real = cities_file.load_cities

    def spy(path: str | Path) -> Cities:
        found.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(cities_file, "load_cities", spy)
    return found


def write(path: Path, city: str) -> Path:
    path.write_text(f"{HEADER}1;{city};1,5;2,5;UTC\n")
    return path


def wait_until_it_rests(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = path.stat().st_ctime_ns + cities_file.RESTS_AFTER_NS
    replace_in(monkeypatch, cities_file, time, time_ns=lambda: later)


def test_the_cities_are_read_again_only_when_their_file_has_changed(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "geo.csv", "Aa")
    wait_until_it_rests(file, monkeypatch)
    assert [current_cities(file).names for _ in range(5)] == [("Aa",)] * 5
    assert reads == ["geo.csv"]
    before = file.stat()
    write(file, "Bb")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # the same size and time, as of a copy that keeps times
    wait_until_it_rests(file, monkeypatch)
    assert [current_cities(file).names for _ in range(5)] == [("Bb",)] * 5
    assert reads == ["geo.csv"] * 2
    write(tmp_path / "new", "Cc").replace(file)
    wait_until_it_rests(file, monkeypatch)
    assert current_cities(file).names == ("Cc",)
    other = write(tmp_path / "other.csv", "Cc")
    wait_until_it_rests(other, monkeypatch)
    assert current_cities(other).names == ("Cc",) and reads[-1] == "other.csv"


def test_a_file_that_was_just_written_is_not_kept(tmp_path: Path, reads: list[str]) -> None:
    """A second write may have the same time and size."""
    file = write(tmp_path / "geo.csv", "Aa")
    assert current_cities(file).names == current_cities(file).names == ("Aa",)
    assert len(reads) == 2


def test_an_error_is_said_each_time_and_not_once_the_file_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "geo.csv"
    for _ in range(2):
        with pytest.raises(CitiesBroken, match=r"geo\.csv can't be read"):
            current_cities(file)
    file.write_text(HEADER)
    wait_until_it_rests(file, monkeypatch)
    for _ in range(2):
        with pytest.raises(CitiesBroken, match="there is no city"):
            current_cities(file)
    write(file, "Aa")
    wait_until_it_rests(file, monkeypatch)
    assert current_cities(file).names == ("Aa",)


@dataclass
class Walks:
    """Walks of two seconds each, on a clock of its own."""

    now: float = 0.0
    count: int = 0
    fails: bool = False
    begun: Event = field(default_factory=Event)
    may_end: Event = field(default_factory=Event)

    def versions(self, _landing: Landing) -> dict[str, int]:
        self.count += 1
        self.begun.set()
        assert self.may_end.wait(10)
        self.now += 2.0
        if self.fails:
            raise SourceMissing("the disk is gone")
        return {"2026-01-01": self.count}


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> Walks:
    made = Walks()
    made.may_end.set()
    monkeypatch.setattr(Landing, "versions", lambda self: made.versions(self))
    return made


HERE = Landing("/raw", date(2015, 1, 1), date(2026, 3, 1))


def test_a_walk_is_shared_for_some_times_its_duration(walks: Walks) -> None:
    shared = SharedWalk(lambda: walks.now)
    assert shared.versions(HERE) == {"2026-01-01": 1}
    walks.now += 2.0 * PAUSE - 0.1
    assert shared.versions(HERE) == {"2026-01-01": 1}
    walks.now += 0.2
    assert shared.versions(HERE) == {"2026-01-01": 2}
    tomorrow = Landing(HERE.root, HERE.first, date(2026, 3, 2))
    assert shared.versions(tomorrow) == {"2026-01-01": 3}, "another date may be one now"


def test_a_walk_that_failed_is_no_result(walks: Walks) -> None:
    shared = SharedWalk(lambda: walks.now)
    shared.versions(HERE)
    walks.now += 100
    walks.fails = True
    for _ in range(2):
        with pytest.raises(SourceMissing):
            shared.versions(HERE)
    walks.fails = False
    assert shared.versions(HERE) == {"2026-01-01": 4}


def test_who_comes_during_a_walk_gets_its_result(walks: Walks) -> None:
    shared, found = SharedWalk(lambda: walks.now), list[int]()
    walks.may_end.clear()
    threads = [Thread(target=lambda: found.extend(shared.versions(HERE).values())) for _ in range(4)]
    for one in threads:
        one.start()
    assert walks.begun.wait(10)
    walks.may_end.set()
    for one in threads:
        one.join(10)
    assert found == [1, 1, 1, 1]


def test_the_sensors_share_the_walk_of_the_source(tmp_path: Path, walks: Walks) -> None:
    (tmp_path / "raw").mkdir()
    lake = Lake(Settings(home=tmp_path, lake_uri=str(tmp_path / "lake"), community_raw_uri=str(tmp_path / "raw")))
    source = LandingSource(walk=SharedWalk(lambda: walks.now))
    assert [source.versions(lake, 0) for _ in range(3)] == [{"2026-01-01": 1}] * 3


def test_versions_need_no_object_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "date=2026-01-01"
    folder.mkdir()
    for name in ("b.json", "a.json"):
        (folder / name).touch()
    made: list[str] = []
    real = landing.File

    def counted(path: bytes, name: str, *more: Any) -> landing.File:
        made.append(name)
        return real(path, name, *more)

    monkeypatch.setattr(landing, "File", counted)
    found = Landing(os.path.realpath(tmp_path), date(2015, 1, 1), date(2026, 3, 1))
    assert found.versions() and made == []
    (one,) = found.folders()
    assert [file.file for file in one.files] == ["date=2026-01-01/a.json", "date=2026-01-01/b.json"]
