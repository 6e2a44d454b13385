"""The listing of the landing folder."""

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from shop_streams.defs.community import landing as landing_module
from shop_streams.defs.community.landing import Landing
from shop_streams.defs.community.landing_checks import nothing_is_ignored
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import SourceMissing
from shop_streams.settings import Settings
from shop_streams_tests.patching import replace_in


def landing(root: Path) -> Landing:
    return Landing(os.path.realpath(root), date(2015, 1, 1), date(2026, 3, 1))


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")


def names(root: Path, key: str = "2026-01-01") -> list[str]:
    folder = landing(root).of_dates([key])[key]
    assert folder is not None
    return [file.file.removeprefix(f"date={key}/") for file in folder.files]


def version(root: Path, key: str = "2026-01-01") -> int:
    return landing(root).versions()[key]


def test_files_at_any_depth_and_of_these_kinds(tmp_path: Path) -> None:
    there = (
        "a.parquet",
        "b.json",
        "c.jsonl",
        "d.ndjson",
        "E.JSON",
        "x/y/z/f.json",
        "x/date=2026-01-02/g.json",
        "h.i.json",
    )
    others = (
        "_SUCCESS",
        "_a.json",
        ".b.json",
        "_temporary/0/c.json",
        ".hidden/d.json",
        "x/_y/e.json",
        "a.csv",
        "b.json.gz",
        "json",
        "a.parquet.crc",
    )
    make(tmp_path, *[f"date=2026-01-01/{name}" for name in (*there, *others)])
    assert names(tmp_path) == sorted(there)


def test_dates_and_what_is_ignored(tmp_path: Path) -> None:
    make(
        tmp_path, "date=2026-01-01/", "date=2015-01-01/a.json", "date=2026-03-01/", "_date=2026-01-01/", ".x", "geo.csv"
    )
    wrong = (
        "date=2026-02-30",
        "date=2026-1-1",
        "date=20260101",
        "2026-01-01",
        "DATE=2026-01-01",
        "date=2026-01-01 ",
        "date=2026-01-01-x",
    )
    make(tmp_path, *[f"{name}/a.json" for name in (*wrong, "date=2014-12-31", "date=2026-03-02")])
    (tmp_path / "date=2026-01-05").symlink_to(tmp_path / "date=2015-01-01")
    assert landing(tmp_path).versions().keys() == {"2015-01-01", "2026-01-01", "2026-03-01"}
    assert landing(tmp_path).ignored() == dict.fromkeys(wrong, "not named date=YYYY-MM-DD") | {
        "date=2014-12-31": "before 2015-01-01, the setting FIRST_DAY", "date=2026-03-02": "after today, 2026-03-01 in UTC",
        "date=2026-01-05": "a symbolic link", "geo.csv": "not a folder",
    }  # fmt: skip
    assert landing(tmp_path).of_dates(["2026-01-05", "2026-03-02", "2026-01-02"]) == {
        "2026-01-05": None, "2026-03-02": None, "2026-01-02": None
    }  # fmt: skip


def test_a_folder_without_files_has_a_version(tmp_path: Path) -> None:
    make(tmp_path, "date=2026-01-01/", "date=2026-01-02/")
    assert version(tmp_path) != 0 and names(tmp_path) == []


CHANGES = {
    "a new file": lambda root: make(root, "b.json"),
    "a longer file": lambda root: _rewrite(root / "a.json", b"xx"),
    "another time": lambda root: os.utime(root / "a.json", ns=(0, (root / "a.json").stat().st_mtime_ns + 1)),
    "another name": lambda root: (root / "a.json").rename(root / "b.json"),
    "another folder": lambda root: _move(root / "a.json", root / "x" / "a.json"),
    "no file": lambda root: (root / "a.json").unlink(),
    "other rights": lambda root: (root / "a.json").chmod(0o600),
    "a link": lambda root: (root / "b.json").symlink_to("/etc/hostname"),
}
NO_CHANGES = {
    "a hidden file": lambda root: make(root, "_b.json", "_x/c.json"),
    "another kind": lambda root: make(root, "b.csv"),
    "an empty folder": lambda root: make(root, "x/"),
}


def _move(path: Path, to: Path) -> None:
    to.parent.mkdir()
    path.rename(to)


def _rewrite(path: Path, content: bytes) -> None:
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before, before))


@pytest.mark.parametrize("what", [*CHANGES, *NO_CHANGES])
def test_the_version_says_whether_files_changed(what: str, tmp_path: Path) -> None:
    make(tmp_path, "date=2026-01-01/a.json", "date=2026-01-02/a.json")
    (tmp_path / "date=2026-01-01" / "a.json").chmod(0o644)
    before = landing(tmp_path).versions()
    assert landing(tmp_path).versions() == before
    (CHANGES | NO_CHANGES)[what](tmp_path / "date=2026-01-01")
    after = landing(tmp_path).versions()
    assert (after["2026-01-01"] != before["2026-01-01"]) == (what in CHANGES)
    assert after["2026-01-02"] == before["2026-01-02"]


def test_links_out_of_the_folder_and_to_folders_are_named(tmp_path: Path) -> None:
    root, outside = tmp_path / "raw", tmp_path / "secret"
    make(root, "date=2026-01-01/a.json", "date=2026-01-02/b.json", "date=2026-01-02/x/c.json")
    make(outside, "d.json")
    make(tmp_path, "raw-of-another/e.json")
    folder = root / "date=2026-01-01"
    links = {
        "in.json": root / "date=2026-01-02/b.json", "relative.json": Path("../date=2026-01-02/b.json"),
        "out.json": outside / "d.json", "near.json": tmp_path / "raw-of-another/e.json", "broken.json": root / "no.json",
        "loop.json": folder / "loop.json", "folder": root / "date=2026-01-02/x", "outside": outside, "up.json": Path("../../secret/d.json"),
    }  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target)
    assert names(root) == ["a.json", "in.json", "relative.json"]
    (found,) = [one for one in landing(root).folders() if one.folder_date == date(2026, 1, 1)]
    assert sorted(found.links) == [
        f"date=2026-01-01/{name}" for name in ("broken.json", "folder", "loop.json", "near.json", "out.json", "outside", "up.json")
    ]  # fmt: skip


def test_the_landing_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    make(tmp_path, "there/date=2026-01-01/a.json")
    (tmp_path / "raw").symlink_to(tmp_path / "there")
    found = Landing.of(Settings(home=tmp_path, community_raw_uri=str(tmp_path / "raw")))
    assert list(found.versions()) == ["2026-01-01"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "date=2026-01-01")
    os.mkdir(folder)  # noqa: PTH102 (bytes)
    for name in (b"\xff.json", "\u00fc\n.json".encode()):
        with open(os.path.join(folder, name), "wb"):  # noqa: PTH118, PTH123
            pass
    assert sorted(names(tmp_path)) == sorted(["\\xff.json", "\u00fc\n.json"])
    (found,) = landing(tmp_path).folders()
    assert all(Path(os.fsdecode(file.path)).exists() for file in found.files)


def test_no_landing_folder_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    for name in ("missing", "file"):
        make(tmp_path, "file")
        with pytest.raises(SourceMissing, match=rf"{name} can't be read: .*SHOP_STREAMS_COMMUNITY_RAW_URI"):
            Landing.of(Settings(home=tmp_path, community_raw_uri=str(tmp_path / name)))


def test_a_folder_without_rights_is_named_and_others_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "date=2026-01-01/a.json", "date=2026-01-01/x/b.json")
    scandir, closed = os.scandir, True

    def refusing(path: str) -> object:  # the tests may run as root, who may read everything
        if closed and str(path).endswith("/x"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    replace_in(monkeypatch, landing_module, os, scandir=refusing)
    (found,) = landing(tmp_path).folders()
    assert found.closed == [("date=2026-01-01/x/", "Permission denied")] and names(tmp_path) == ["a.json"]
    before = version(tmp_path)
    closed = False
    assert names(tmp_path) == ["a.json", "x/b.json"] and version(tmp_path) != before


def test_an_error_of_the_disk_is_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "date=2026-01-01/a.json")
    scandir = os.scandir

    def failing(path: str) -> object:
        if str(path).endswith("date=2026-01-01"):
            raise OSError(5, "Input/output error")
        return scandir(path)

    replace_in(monkeypatch, landing_module, os, scandir=failing)
    with pytest.raises(SourceMissing, match=r"Input/output error"):
        landing(tmp_path).versions()


def test_today_is_a_date_and_tomorrow_is_not_yet(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    make(tmp_path, f"date={today}/", f"date={today + timedelta(days=2)}/")
    found = Landing.of(Settings(home=tmp_path, community_raw_uri=str(tmp_path)))
    assert list(found.versions()) == [str(today)]


def test_another_first_day_loads_each_date_again(tmp_path: Path) -> None:
    """Rows before the first day are refused, so the same files give other rows."""
    make(tmp_path, "date=2026-01-01/a.json")
    later = Landing(os.path.realpath(tmp_path), date(2025, 1, 1), date(2026, 3, 1))
    assert later.versions()["2026-01-01"] != version(tmp_path)


def test_a_check_warns_of_what_is_not_read(tmp_path: Path) -> None:
    lake = Lake(Settings(lake_uri=str(tmp_path / "lake"), community_raw_uri=str(tmp_path / "raw")))
    missing = nothing_is_ignored(lake)
    assert isinstance(missing, dg.AssetCheckResult) and missing.passed, "other texts say that there is no folder"
    make(tmp_path / "raw", "date=2026-01-01/a.json", "_draft/a.json")
    right = nothing_is_ignored(lake)
    assert isinstance(right, dg.AssetCheckResult) and right.passed
    make(tmp_path / "raw", "date=2026-1-2/a.json", *[f"x{number:02}/a.json" for number in range(40)])
    found = nothing_is_ignored(lake)
    assert isinstance(found, dg.AssetCheckResult)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.metadata["entries_ignored"].value == 41
    names = str(found.metadata["ignored"].value).splitlines()
    assert len(names) == 20 and names[0] == "date=2026-1-2: not named date=YYYY-MM-DD"
    assert found.description == "41 entries are not read, the first: date=2026-1-2: not named date=YYYY-MM-DD"
