"""Spark's class archive: what a killed server leaves is never given to the next one, which it would crash."""

from pathlib import Path

from shop_streams.local import class_archive
from shop_streams.settings import Settings


def test_only_a_whole_archive_is_kept(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", jars=tmp_path / "jars")
    (settings.jars / "spark").mkdir(parents=True)
    written = settings.home / "spark" / "classes.jsa"
    written.parent.mkdir(parents=True)
    outdated = settings.jars / "spark-classes-of-older-jars.jsa"
    outdated.write_bytes(b"old")

    assert class_archive.java_option(settings).startswith(f"-XX:ArchiveClassesAtExit={written} ")
    written.write_bytes(bytes(4096))  # Java leaves room for the header, and fills it in when all else is written
    class_archive.keep(settings)
    assert not written.exists()
    assert class_archive.java_option(settings).startswith("-XX:ArchiveClassesAtExit")

    written.write_bytes(bytes.fromhex("a8ab0bf0") + bytes(4092))
    class_archive.keep(settings)
    option, _, archive = class_archive.java_option(settings).partition("=")
    assert option == "-XX:SharedArchiveFile" and Path(archive).stat().st_size == 4096
    assert not outdated.exists() and not written.exists()
