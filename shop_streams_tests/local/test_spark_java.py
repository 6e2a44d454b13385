"""Spark's Java: what a killed server leaves is never given to the next one, and its optimizing compiler is on."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from shop_streams import environment
from shop_streams.environment import java_options
from shop_streams.local import class_archive, training
from shop_streams.local.jars import require_java
from shop_streams.local.services import Service
from shop_streams.settings import Settings, get_settings
from shop_streams_tests.patching import replace_in


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


def test_the_optimizing_compiler_is_on_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of cores; and compiled code has at least Java's usual room: a full one kills the server."""

    def flags(*options: str) -> tuple[int, int, int]:
        command = [require_java(), *options, "-XX:+PrintFlagsFinal", "-version"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = dict(
            re.findall(r"(TieredStopAtLevel|ReservedCodeCacheSize|Tier4InvocationThreshold)\s*=\s*(\d+)", said)
        )
        return (
            int(found["TieredStopAtLevel"]),
            int(found["ReservedCodeCacheSize"]),
            int(found["Tier4InvocationThreshold"]),
        )

    _, usual_room, usual_calls = flags()
    for cores in (1, 2, 8):
        replace_in(monkeypatch, environment, os, cpu_count=lambda cores=cores: cores)
        level, room, calls = flags(*java_options().split())
        assert level == 4, f"on {cores} cores Java stops at its compiler's level {level}"
        assert room >= usual_room
        assert calls == (usual_calls if cores > 2 else 40 * usual_calls), "what only starts is not optimized"


def test_set_up_trains_only_where_there_is_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what goes wrong in a training, as without a disk or ports, never keeps set-up from its end."""
    started: list[str] = []

    def no_services(settings: Settings) -> list[Service]:
        started.append(str(settings.home))
        raise OSError("no room")

    monkeypatch.setattr(training, "services", no_services)
    monkeypatch.setenv("SHOP_STREAMS_JARS", str(tmp_path / "jars"))
    monkeypatch.setenv("SHOP_STREAMS_HOME", str(tmp_path / "home"))
    (tmp_path / "jars" / "spark").mkdir(parents=True)
    settings = get_settings()

    training.main()
    assert len(started) == 1 and not started[0].startswith(str(settings.home))
    assert not Path(started[0]).exists() and not settings.home.exists()

    assert training.train(settings.model_copy(update={"spark_remote": "sc://elsewhere:15002"}))  # no server of ours
    class_archive.archive_of(settings).write_bytes(b"whole")
    assert training.train(settings)
    assert len(started) == 1
