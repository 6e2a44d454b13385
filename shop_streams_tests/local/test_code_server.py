"""The stack's code server: how runs start, on a real stack, and what it does where they can't be forked."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from shop_streams.cli.status import STREAMS
from shop_streams_tests.harness import Stack, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")


def test_runs_are_copies_of_one_process_that_has_the_code(stack: Stack) -> None:
    """Not each a new Python that imports for seconds; and a killed run is reaped, so that it counts as ended."""
    runs = {name: psutil.Process(stack.wait_running(name)["pid"]) for name in STREAMS}
    (forks_of,) = {run.parent() for run in runs.values()}
    code_server = psutil.Process(stack.status()["services"]["dagster_code_server"]["pid"])
    assert forks_of is not None and forks_of.parent() == code_server
    assert all(run.cmdline() == forks_of.cmdline() for run in runs.values()), "forked, not started"
    name, run = next(iter(runs.items()))
    epoch = stack.stream(name)["epoch"]
    forks_of.terminate()  # as systemd does with each process of the service
    run.kill()
    wait_for("its entry to go", lambda: not run.is_running(), 30)
    again = psutil.Process(stack.wait_running(name, after_epoch=epoch)["pid"])
    assert again.parent() == forks_of


def test_a_folder_for_temporary_files_with_a_long_path_makes_runs_slower_only(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    asked = "from shop_streams.local.code_server import forking; print(forking())"
    done = subprocess.run(
        [sys.executable, "-c", asked], env={"TMPDIR": str(folder)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n"
    assert done.stderr == "Runs start slowly, each as a new Python: no fork server (AF_UNIX path too long).\n"
