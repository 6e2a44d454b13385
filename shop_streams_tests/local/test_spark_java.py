"""Spark's Java: what a killed server leaves is never given to the next one, and there is room for compiled code."""

import re
import subprocess
from pathlib import Path

from shop_streams.local import class_archive
from shop_streams.local.jars import require_java
from shop_streams.settings import QUICK_START, Settings


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


def test_the_quick_start_leaves_the_usual_room_for_compiled_code() -> None:
    def code_cache(*options: str) -> int:
        command = [require_java(), *options, "-XX:+PrintFlagsFinal", "-version"]
        flags = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return int(re.findall(r"ReservedCodeCacheSize\s*=\s*(\d+)", flags)[0])

    assert code_cache(*QUICK_START.split()) >= code_cache()
