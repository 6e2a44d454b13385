"""The stack's code server: how runs start, on a real stack, and what it does where they can't be forked."""

import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from shop_streams.cli.status import STREAMS
from shop_streams.local.prepare import runtime_folder
from shop_streams.local.stopping import instance_of
from shop_streams_tests.harness import Stack, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")


def test_runs_are_copies_of_one_process_that_has_the_code(stack: Stack) -> None:
    """Not each a new Python that imports for seconds; and a killed run is reaped, so that it counts as ended."""
    forks_of = check_all_are_forked(stack)
    forks_of.terminate()  # as systemd does with each process of the service
    assert restarted(stack, STREAMS[0]).parent() == forks_of


def test_runs_outlive_the_process_that_they_were_forked_from(stack: Stack) -> None:
    """Dagster would report each of them as failed, and a stream or a mart would run twice."""
    forks_of = check_all_are_forked(stack)
    before = {name: stack.stream(name) for name in STREAMS}
    forks_of.kill()
    time.sleep(5)  # Dagster looks each half second
    for name, stream in before.items():
        assert stack.stream(name)["epoch"] == stream["epoch"] and psutil.pid_exists(stream["pid"])
    with instance_of(stack.settings) as instance:
        runs = instance.get_runs(dg.RunsFilter(run_ids=[stream["run_id"] for stream in before.values()]))
    assert {run.status for run in runs} == {dg.DagsterRunStatus.STARTED}

    second = restarted(stack, STREAMS[0]).parent()
    assert second not in (None, forks_of), "another one has taken its place"
    assert stack.stream(STREAMS[1])["epoch"] == before[STREAMS[1]]["epoch"]

    for one in runtime_folder(stack.settings).glob("listener-*"):
        one.unlink()  # as a person does who empties /tmp
    assert restarted(stack, STREAMS[0]).parent() not in (None, forks_of, second)


def check_all_are_forked(stack: Stack) -> psutil.Process:
    """The process that all streams' runs are forked from, a child of the code server."""
    runs = [psutil.Process(stack.wait_running(name)["pid"]) for name in STREAMS]
    code_server = psutil.Process(stack.status()["services"]["dagster_code_server"]["pid"])
    forks_of = [one for one in code_server.children() if one.cmdline() == runs[0].cmdline()]
    assert {run.parent() for run in runs} == set(forks_of) and len(forks_of) == 1, "forked, not started"
    return forks_of[0]


def restarted(stack: Stack, name: str) -> psutil.Process:
    """Kill the stream's run; its next one."""
    stream = stack.wait_running(name)
    run = psutil.Process(stream["pid"])
    run.kill()
    wait_for("its entry to go", lambda: not run.is_running() or run.status() == psutil.STATUS_ZOMBIE, 30)
    return psutil.Process(stack.wait_running(name, after_epoch=stream["epoch"])["pid"])


def test_what_cannot_be_loaded_is_told_by_the_runs(tmp_path: Path) -> None:
    """The process that runs are forked from does not end by it, or no run could say what is wrong."""
    wrong = {"SHOP_STREAMS_FIRST_DAY": "tomorrow", "SHOP_STREAMS_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "import shop_streams.local.loaded"],
        env=os.environ | wrong,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "SHOP_STREAMS_FIRST_DAY" in done.stderr


def test_only_known_libraries_have_threads_before_a_fork() -> None:
    """They start their threads again in the copy. Another library's thread would be missing there."""
    asked = (
        "import os, shop_streams.local.loaded\n"
        "print(*sorted({open(f'/proc/self/task/{one}/comm').read().strip() for one in os.listdir('/proc/self/task')}))\n"
        "import threading; print(threading.active_count())"
    )
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in said[:-1] if not name.startswith("python")} <= {"jemalloc_bg_thd"}
    assert said[-1] == "1"


def test_a_folder_for_temporary_files_with_a_long_path_makes_runs_slower_only(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    asked = "from pathlib import Path; from shop_streams.local.code_server import forking; print(forking(Path('none')))"
    done = subprocess.run(
        [sys.executable, "-c", asked], env={"TMPDIR": str(folder)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n"
    assert done.stderr == "Runs start slowly, each as a new Python: no fork server (AF_UNIX path too long).\n"
