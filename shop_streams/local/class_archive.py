"""Spark's classes, read and verified once: later servers map them from a file, which saves seconds of each start.

A server that is stopped in peace writes the archive on its way out (Java's dynamic class-data sharing): the one that set-up
runs for this purpose (training.py), or else the first. It fits one Java and one set of jars, and is named after both; a JVM
that finds it unfit goes on without it.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from shop_streams.local.jars import require_java, spark_home
from shop_streams.settings import Settings


def archive_of(settings: Settings) -> Path:
    """Where the archive is, or will be, for this Java and these jars."""
    parts = [Path(require_java()).resolve(), *sorted((spark_home() / "jars").iterdir())]
    parts += sorted((settings.jars / "spark").iterdir())
    facts = "\n".join(f"{part} {part.stat().st_mtime_ns}" for part in parts)
    return settings.jars / f"spark-classes-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.jsa"


def _written(settings: Settings) -> Path:
    return settings.home / "spark" / "classes.jsa"


def java_option(settings: Settings) -> str:
    """The JVM's option that takes the classes from the archive; or, where there is none, leaves one at the end.

    Nothing for a server that is not ours to stop: nobody would wait for the archive there.
    """
    if not settings.embedded["spark"]:
        return ""
    archive = archive_of(settings)
    if archive.exists():
        return f"-XX:SharedArchiveFile={archive}"
    return f"-XX:ArchiveClassesAtExit={_written(settings)} -Xlog:cds*=error"


def keep(settings: Settings) -> None:
    """Put the archive that a server has just left to where the next one looks for it, in place of older ones.

    A server that was killed while it wrote leaves a part, which would crash every later one. The header is written last.
    """
    if not _written(settings).exists():
        return
    with _written(settings).open("rb") as file:
        complete = any(file.read(4))
    if not complete:
        _written(settings).unlink()
        return
    for old in settings.jars.glob("spark-classes-*.jsa"):
        old.unlink(missing_ok=True)
    archive = archive_of(settings)
    part = archive.with_suffix(".part")
    shutil.move(_written(settings), part)
    part.replace(archive)  # at once: another home may be starting
