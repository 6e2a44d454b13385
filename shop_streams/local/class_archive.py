"""The archive of Spark's loaded classes (Java's dynamic class-data sharing), which saves seconds of each start.

A server that is stopped cleanly writes the archive: the one that set-up runs for this purpose (training.py), or else
the first one. An archive fits one Java and one set of jars, and is named after both. A JVM starts without one that does
not fit.
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
    versions = "\n".join(f"{part} {part.stat().st_mtime_ns}" for part in parts)
    return settings.jars / f"spark-classes-{hashlib.sha256(versions.encode()).hexdigest()[:16]}.jsa"


def _written(settings: Settings) -> Path:
    return settings.home / "spark" / "classes.jsa"


def java_option(settings: Settings) -> str:
    """The JVM's option that reads the archive, or that writes one at the end if there is none.

    Empty if Spark is not embedded: what stops that server would not wait for the archive.
    """
    if not settings.embedded["spark"]:
        return ""
    archive = archive_of(settings)
    if archive.exists():
        return f"-XX:SharedArchiveFile={archive}"
    return f"-XX:ArchiveClassesAtExit={_written(settings)} -Xlog:cds*=error"


def keep(settings: Settings) -> None:
    """Move the archive that a server has just written to where the next server looks for it, and delete older ones.

    A server that was killed while it wrote leaves a part, which would crash later servers. The header is written last.
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
    part.replace(archive)  # atomic: another home may be starting
